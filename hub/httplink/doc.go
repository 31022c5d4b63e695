// Package httplink carries HTTP requests on the streams of a link: one request
// on one stream, in either direction, so that a service behind a NAT is reached
// through the connection that its own side dialled.
//
// On the side that has the service, a [Server] hands streams to an
// http.Handler. On the other, a [Transport] is an http.RoundTripper that opens
// a stream for each request.
//
//	mux.HandleStream("web", server)             // the edge
//	proxy := httputil.ReverseProxy{Transport: transport, Rewrite: ...} // the cloud
//
// # What is carried
//
// All of HTTP/1.1: bodies without an end, trailers, and protocol upgrades
// (WebSocket, SPDY), after which either side may close its half. A request ends
// when its stream ends and the other way round: a client that goes away ends
// the request's context at the handler, and a handler that dies, or a link that
// breaks, is an error at the client and never a body that just ends.
//
// There is no connection to keep alive: a stream costs no round trip to open.
// Flow control is the link's own. A client that does not read holds up its own
// handler and nobody else.
//
// A Server and a Transport may be used by several goroutines at once.
package httplink
