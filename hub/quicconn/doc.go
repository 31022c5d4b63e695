// Package quicconn is the hub transport over QUIC (RFC 9000): one UDP socket
// for all nodes, TLS 1.3 within, streams by nature, so that a lost packet
// holds up only the stream it belongs to. A connection survives a change of
// the edge's address.
//
// The edge's side is a Dialer. The cloud's side is a Listener on a socket that
// the caller opens:
//
//	socket, err := net.ListenUDP("udp", addr)
//	...
//	l, err := quicconn.Listen(quicconn.ListenerConfig{Socket: socket, TLS: tlsConfig})
//	...
//	defer l.Close()
//
// Client certificates are always required; who the edge is comes from its
// certificate alone. Nothing is sent or taken before the handshake is complete
// (no 0-RTT), since calls are not idempotent.
//
// # How a connection ends
//
// An edge at rest asks its server by a packet of QUIC's own (PING, RFC 9000 section
// 19.2) whether it still knows the connection, every 15 s or as the server says
// (ListenerConfig.Keepalive). An edge or a server that is silent for twice as long is
// given up. A server that was restarted with the same ListenerConfig.ResetKey answers
// such a packet of any size with a stateless reset (RFC 9000 section 10.3), and the
// connection ends at once.
//
// Edges that give up before Accept has taken their connection leave the Listener's
// backlog at once. A socket that can no longer be read is a [SocketError], from Accept,
// from Dial, and from the connections that it had; the Listener retries temporary
// errors for a second. A Socket that many Dialers share closes its Done.
//
// # The queue before quic-go
//
// When thousands of edges return at once, ListenerConfig.Handshakes of them are under
// way at a time: if all were, they would share the CPU until none gets through before
// it gives up. The others wait with copies of their first packets, in the order of
// arrival, one network not before another; no cryptography was done for them yet.
//
// quic-go has no such limit (v0.65.0). It queues 1,024 packets of new connections and
// drops what does not fit, by chance, and it refuses a connection that is complete when
// 32 wait for Accept. With those two queues alone a quarter of the attempts failed
// when 10,000 edges returned (hub/BENCHMARKS.md); with this queue, none.
//
// This code can be removed when quic-go's Transport lets its user decide about a new
// connection from its first packet, before it has cost anything, with the option to
// decide later; and when the length of its accept queue can be set. The stateless
// resets for small packets can be removed when quic-go answers packets of less than 43
// bytes, as RFC 9000 section 10.3 allows. Transport.VerifySourceAddress is not enough:
// it can ask a client for a proof of its address, not let it wait.
//
// # Memory
//
// Windows begin small and grow with use. All connections of a Listener share
// one budget for what they grow beyond that, ListenerConfig.Memory; when it is
// used up, windows stay as they are and nothing else changes.
//
// What arrived and nobody reads counts against the window of the connection, which is 64 MiB on
// an edge; a stream that was fast has up to 2 MiB of it. A program that opens streams for others,
// such as the pods of a node, bounds how many of them are left unread: 32 of them hold up the
// session's state.
//
// All methods may be called by several goroutines at once.
package quicconn
