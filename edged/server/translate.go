package server

import (
	"net/http"
	"net/url"

	"github.com/edgekit/edgekit/edged"
)

// What kubectl speaks and runtimes do not.
const (
	channelProtocol = "v5.channel.k8s.io"
	tunnelProtocol  = "v2.portforward.k8s.io"
)

// speaks reports whether a WebSocket request offers a protocol.
func speaks(r *http.Request, protocol string) bool {
	return isWebSocket(r) && hasToken(r.Header, "Sec-WebSocket-Protocol", protocol)
}

// translate serves a request in a protocol that the runtime does not speak;
// false if it is not one.
func (s *Server) translate(w http.ResponseWriter, r *http.Request, target *url.URL, opts edged.Streaming) bool {
	return false
}
