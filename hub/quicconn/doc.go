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
// # What ends, and how one learns of it
//
// An edge at rest asks its server by a packet of QUIC's own whether it still knows
// the connection, every 15 s or as the server says (ListenerConfig.Keepalive); an
// edge or a server that is silent for twice as long is gone. A server that was
// started again with the same ListenerConfig.ResetKey answers such a packet of any
// size with a stateless reset, and the connection ends there and then.
//
// Edges that give up before Accept has taken their connection leave the
// Listener's backlog at once. A socket that can be read no more is a
// [SocketError], from Accept, from Dial, and from the connections that it had;
// errors that pass are waited out for a second. A Socket that many Dialers share
// tells by its Done.
//
// # A herd
//
// When thousands of edges return at once, ListenerConfig.Handshakes of them are
// under way at a time, since all at once would share the CPU until none gets
// through before it has given up. The others stand in line with their first
// packets, in the order of their coming, and nothing was done for them yet.
//
// # Memory
//
// Windows begin small and grow with use. All connections of a Listener share
// one budget for what they grow beyond that, ListenerConfig.Memory; when it is
// used up, windows stay as they are and nothing else changes.
//
// All methods may be called by several goroutines at once.
package quicconn
