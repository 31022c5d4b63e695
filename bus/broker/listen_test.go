package broker_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/broker"
)

// certificate is a self-signed one for 127.0.0.1.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// webSocket is the client's side of a WebSocket: it sends masked frames, cut in pieces.
type webSocket struct {
	net.Conn
	in   *bufio.Reader
	left int
}

func upgrade(t *testing.T, conn net.Conn, header string) (*webSocket, *http.Response) {
	t.Helper()
	fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n\r\n", header)
	in := bufio.NewReader(conn)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &webSocket{Conn: conn, in: in}, r
}

func (w *webSocket) Write(p []byte) (int, error) {
	opcode := byte(2)
	for rest := p; len(rest) > 0; opcode = 0 {
		n := min(3, len(rest))
		final := byte(0)
		if n == len(rest) {
			final = 0x80
		}
		out := []byte{final | opcode, 0x80 | byte(n), 1, 2, 3, 4}
		for i, b := range rest[:n] {
			out = append(out, b^byte(i%4+1))
		}
		out = append(out, 0x89, 0x80, 0, 0, 0, 0) // a ping between the pieces
		if _, err := w.Conn.Write(out); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (w *webSocket) Read(p []byte) (int, error) {
	for w.left == 0 {
		var h [2]byte
		if _, err := io.ReadFull(w.in, h[:]); err != nil {
			return 0, err
		}
		n := int(h[1])
		if n == 126 {
			if _, err := io.ReadFull(w.in, h[:]); err != nil {
				return 0, err
			}
			n = int(binary.BigEndian.Uint16(h[:]))
			h[0] = 0x82
		}
		if h[0] == 0x8a { // pong
			w.in.Discard(n)
			continue
		}
		w.left = n
	}
	n, err := w.in.Read(p[:min(len(p), w.left)])
	w.left -= n
	return n, err
}

// TestListeners serves five addresses at once.
func TestListeners(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "mqtt.sock")
	cert := certificate(t)
	cfg := broker.Config{
		Listen: []string{"tls://127.0.0.1:0", "ws://127.0.0.1:0", "wss://127.0.0.1:0/mqtt", "unix://" + socket},
		TLS:    &tls.Config{Certificates: []tls.Certificate{cert}},
	}
	for range 2 { // the second finds the socket of the first
		b, stop := start(t, cfg)
		addrs := b.Addrs()
		if len(addrs) != 5 {
			t.Fatalf("%v", addrs)
		}
		watch := join(t, addrs[0], connect{id: "watch"})
		watch.subscribe("#", 0)
		for i, addr := range addrs {
			conn, err := net.Dial(addr.Network(), addr.String())
			if err != nil {
				t.Fatal(err)
			}
			if i == 1 || i == 3 {
				conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own certificate
			}
			if i == 2 || i == 3 {
				ws, r := upgrade(t, conn, "Sec-WebSocket-Protocol: other, mqtt")
				if r.StatusCode != http.StatusSwitchingProtocols || r.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" || r.Header.Get("Sec-WebSocket-Protocol") != "mqtt" {
					t.Fatalf("%s: %v %v", addr, r.Status, r.Header)
				}
				conn = ws
			}
			p := &peer{t: t, conn: conn, version: 4}
			p.send(connect{id: fmt.Sprint("c", i)}.packet())
			if pk, err := p.next(); err != nil || pk.FixedHeader.Type != 2 {
				t.Fatalf("%d: %v", i, err)
			}
			long := fmt.Sprint(i, strings.Repeat("x", 300))
			p.subscribe("back", 0)
			p.publish(publishing{topic: "back", payload: long})
			p.message("back", long, 0)
			watch.message("back", long, 0)
			p.leave()
		}
		stop()
	}
}

// TestWebSocketRefused has requests that are no WebSocket for MQTT.
func TestWebSocketRefused(t *testing.T) {
	b, _ := start(t, broker.Config{Address: "ws://127.0.0.1:0"})
	for header, want := range map[string]int{
		"X: y":                         400, // no protocol
		"Sec-WebSocket-Protocol: soap": 400,
		"Sec-WebSocket-Protocol: mqtt\r\nOrigin: https://evil.example": 403,
		"Sec-WebSocket-Protocol: mqtt\r\nOrigin: http://localhost":     101,
	} {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, r := upgrade(t, conn, header); r.StatusCode != want {
			t.Errorf("%q: %s", header, r.Status)
		}
		conn.Close()
	}
	for _, rubbish := range []string{"\x10\x20\r\n\r\n", "GET /other HTTP/1.1\r\nHost: a\r\n\r\n", "GET /mqtt HTTP/1.1\r\nHost: a\r\n\r\n", strings.Repeat("x", 20_000)} {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn.Write([]byte(rubbish))
		io.Copy(io.Discard, conn) // until the broker closes it
		conn.Close()
	}
}
