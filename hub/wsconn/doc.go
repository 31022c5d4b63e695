// Package wsconn is the hub transport over WebSocket: one TLS 1.3 connection
// on the port and path of an ordinary HTTPS server, with many streams on it.
// It passes through proxies (HTTP CONNECT) and load balancers that know
// nothing of edgekit.
//
// The edge's side is a [Dialer]. The cloud's side is a [Listener], which is a
// [hub.Listener] for the hub.Server and an [http.Handler] to be mounted at
// [Path] beside other handlers:
//
//	l, err := wsconn.NewListener(wsconn.ListenerConfig{})
//	...
//	mux := http.NewServeMux()
//	mux.Handle(wsconn.Path, l)
//	mux.Handle("/v1/join", joinHandler)
//	srv := &http.Server{Handler: mux}
//	err = srv.Serve(tls.NewListener(l.Throttle(socket), tlsConfig))
//
// [Listener.Throttle] limits how many connections are in their handshake. Without it,
// many edges that return after an outage of the server would share the CPU until none
// gets through. It also bounds connections that send nothing.
//
// The TLS configuration must ask for client certificates
// (tls.VerifyClientCertIfGiven where other handlers need none) and hold the
// roots that they are checked against. Who the edge is comes from its
// certificate alone; by default that is CN=system:node:<name> with
// O=system:nodes, see [ListenerConfig]. Certificate times are judged by
// tls.Config.Time on both sides.
//
// # Why the multiplexer is its own
//
// WebSocket carries one ordered stream of messages, so something must put many streams
// on it. At first that was yamux. It was replaced for what the link needs and yamux
// does not have: windows that begin small and grow with use, where yamux has 256 KiB
// for every stream; one budget of memory for all connections of a server; a scheduler
// that gives each stream pieces of 16 KiB, so that a ping never waits behind a log.
// Measured in hub/BENCHMARKS.md: 282 MB/s instead of 122, with 60 % of the CPU, and 92
// KiB for a link at rest instead of 122. It is some 900 lines, with a fuzzer.
//
// # Streams and memory
//
// Each stream has a window of its own, and none is shared: a stream that nobody
// reads holds its window and delays no other. Windows begin at 16 KiB (that of
// the first stream, which carries the session's state, at 256 KiB) and grow to
// 4 MiB while their reader waits for the network. The growth is bounded for
// each connection and, by [ListenerConfig.Memory], for all of a Listener; when
// that is used up, windows stay as they are and nothing else changes. Streams
// that have bytes to send are served round robin, 16 KiB at a time.
//
// At rest a connection costs two goroutines and the buffers of TLS. What a peer
// can make it hold besides is bounded by the windows of at most 4096 streams
// and one message of 64 KiB; a peer that breaks the protocol loses its
// connection with a [ProtocolError].
//
// All methods may be called by several goroutines at once.
package wsconn
