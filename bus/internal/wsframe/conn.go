package wsframe

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455, 1.3 asks for it; it protects nothing
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	maxRequest = 8 << 10 // bytes of the opening request
	acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
	maxControl = 125 // bytes of a control frame
)

// Conn is a WebSocket as a net.Conn. One goroutine reads and another writes.
type Conn struct {
	net.Conn
	in     *bufio.Reader
	left   int64 // payload bytes of the frame being read
	mask   [4]byte
	at     int  // in mask
	opened bool // a message is not finished: only continuation frames may follow

	mu     sync.Mutex // of writing
	closed bool       // the close frame was sent
}

// Accept answers the opening request on conn, which must be for path. On an error it has
// answered with an HTTP status, and the caller closes conn.
func Accept(conn net.Conn, path string) (*Conn, error) {
	in := bufio.NewReaderSize(io.LimitReader(conn, maxRequest), 1<<10)
	r, err := http.ReadRequest(in)
	if err != nil {
		return nil, fmt.Errorf("no HTTP request: %w", err)
	}
	key, protocol, status := check(r, path)
	if status != http.StatusSwitchingProtocols {
		_, err := fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
		return nil, errors.Join(fmt.Errorf("WebSocket refused with %d", status), err)
	}
	sum := sha1.Sum([]byte(key + acceptGUID)) //nolint:gosec // as above
	_, err = fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(sum[:]), protocol)
	if err != nil {
		return nil, err
	}
	c := &Conn{Conn: conn, in: bufio.NewReaderSize(conn, 1<<10)}
	if n := in.Buffered(); n > 0 { // the client's first frames came with the request
		early, _ := in.Peek(n)
		c.in = bufio.NewReaderSize(io.MultiReader(strings.NewReader(string(early)), conn), 1<<10)
	}
	return c, nil
}

// check says with which status a request is answered.
func check(r *http.Request, path string) (key, protocol string, status int) {
	key = r.Header.Get("Sec-WebSocket-Key")
	raw, err := base64.StdEncoding.DecodeString(key)
	offered := words(r.Header, "Sec-WebSocket-Protocol")
	switch {
	case r.URL.Path != path:
		return "", "", http.StatusNotFound
	case r.Method != http.MethodGet || !slices.Contains(words(r.Header, "Upgrade"), "websocket") || !slices.Contains(words(r.Header, "Connection"), "upgrade"):
		return "", "", http.StatusUpgradeRequired
	case r.Header.Get("Sec-WebSocket-Version") != "13" || err != nil || len(raw) != 16:
		return "", "", http.StatusBadRequest
	case !sameOrigin(r): // a page of another site in a browser on this machine
		return "", "", http.StatusForbidden
	}
	for _, name := range []string{"mqtt", "mqttv3.1"} { // MQTT-6.0.0-3
		if slices.Contains(offered, name) {
			return key, name, http.StatusSwitchingProtocols
		}
	}
	return "", "", http.StatusBadRequest
}

// words are the values of a header that is a list, in lower case.
func words(h http.Header, name string) []string {
	var all []string
	for _, line := range h.Values(name) {
		for word := range strings.SplitSeq(line, ",") {
			all = append(all, strings.ToLower(strings.TrimSpace(word)))
		}
	}
	return all
}

func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}

// Inner is the connection below.
func (c *Conn) Inner() net.Conn { return c.Conn }

// Read reads payload of binary frames. It answers pings and the close frame.
func (c *Conn) Read(p []byte) (int, error) {
	for c.left == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.in.Read(p)
	c.unmask(p[:n])
	c.left -= int64(n)
	return n, err
}

func (c *Conn) unmask(p []byte) {
	for i := range p {
		p[i] ^= c.mask[c.at&3]
		c.at++
	}
}

// next reads the header of the next data frame, and handles control frames before it.
func (c *Conn) next() error {
	var h [8]byte
	if _, err := io.ReadFull(c.in, h[:2]); err != nil {
		return err
	}
	final, opcode, masked, length := h[0]&0x80 != 0, h[0]&0x0f, h[1]&0x80 != 0, int64(h[1]&0x7f)
	if h[0]&0x70 != 0 || !masked {
		return c.fail(1002, "frame is not masked or has reserved bits")
	}
	switch length {
	case 126:
		if _, err := io.ReadFull(c.in, h[:2]); err != nil {
			return err
		}
		length = int64(binary.BigEndian.Uint16(h[:]))
	case 127:
		if _, err := io.ReadFull(c.in, h[:8]); err != nil {
			return err
		}
		if length = int64(binary.BigEndian.Uint64(h[:])); length < 0 {
			return c.fail(1002, "frame length is negative")
		}
	}
	if _, err := io.ReadFull(c.in, c.mask[:]); err != nil {
		return err
	}
	c.at = 0
	switch {
	case opcode >= 8:
		if !final || length > maxControl {
			return c.fail(1002, "control frame is too long")
		}
		return c.control(opcode, int(length))
	case opcode == 2 && !c.opened, opcode == 0 && c.opened:
		c.left, c.opened = length, !final
		return nil
	case opcode == 1:
		return c.fail(1003, "text frame") // MQTT-6.0.0-1
	}
	return c.fail(1002, "frame is out of order")
}

// control handles a close, ping or pong frame.
func (c *Conn) control(opcode byte, length int) error {
	var buf [maxControl]byte
	payload := buf[:length]
	if _, err := io.ReadFull(c.in, payload); err != nil {
		return err
	}
	c.unmask(payload)
	switch opcode {
	case 8:
		_ = c.frame(8, payload[:min(2, length)]) // the client is going anyway
		return io.EOF
	case 9:
		return c.frame(10, payload)
	}
	return nil
}

// fail sends a close frame and returns an error.
func (c *Conn) fail(code uint16, reason string) error {
	_ = c.frame(8, binary.BigEndian.AppendUint16(nil, code)) // the connection ends either way
	return fmt.Errorf("WebSocket: %s", reason)
}

// Write sends p as one binary frame.
func (c *Conn) Write(p []byte) (int, error) {
	if err := c.frame(2, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *Conn) frame(opcode byte, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed = opcode == 8
	head := append(make([]byte, 0, 10), 0x80|opcode)
	switch n := len(p); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = binary.BigEndian.AppendUint16(append(head, 126), uint16(n))
	default:
		head = binary.BigEndian.AppendUint64(append(head, 127), uint64(n))
	}
	bufs := net.Buffers{head, p}
	_, err := bufs.WriteTo(c.Conn)
	return err
}
