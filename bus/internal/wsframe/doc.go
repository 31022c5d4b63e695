// Package wsframe is the server's side of WebSocket (RFC 6455) for MQTT (MQTT 5, 6): a
// net.Conn whose bytes travel in binary frames. A connection costs one small buffer; a
// frame is never held as a whole.
package wsframe
