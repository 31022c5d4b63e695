// Package wsconn is the hub transport over WebSocket: one TLS 1.3 connection
// on the port and path of an ordinary HTTPS server, with streams multiplexed
// on it by yamux. It passes through proxies and load balancers that know
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
//	srv := &http.Server{Handler: mux, TLSConfig: tlsConfig}
//
// The TLS configuration must ask for client certificates
// (tls.VerifyClientCertIfGiven where other handlers need none) and hold the
// roots that they are checked against. Who the edge is comes from its
// certificate alone; by default that is CN=system:node:<name> with
// O=system:nodes, see [ListenerConfig]. Certificate times are judged by
// tls.Config.Time on both sides.
//
// All methods may be called by several goroutines at once.
package wsconn
