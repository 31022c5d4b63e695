package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// pipes is a net.Listener in memory.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

// dial returns the client's end of a new connection.
func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// peer is a client's end of a connection.
type peer struct {
	net.Conn
	cfg   *tls.Config
	hello []byte // its first message
}

// secure has TLS spoken on the connection, once the server has taken it.
func (p peer) secure() peer {
	c := tls.Client(p.Conn, p.cfg)
	_ = c.Handshake() // what follows fails too
	return peer{c, p.cfg, nil}
}

// listen waits for the server to hang up.
func (p peer) listen() { _, _ = io.Copy(io.Discard, p) }

// hello is the first message of a TLS client.
func hello(cfg *tls.Config) []byte {
	near, far := net.Pipe()
	var all bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = tls.Client(near, cfg).Handshake() // fails when the pipe is closed
	}()
	header := make([]byte, 5) // RFC 8446 section 5.1
	_, _ = io.ReadFull(far, header)
	all.Write(header)
	_, _ = io.CopyN(&all, far, int64(header[3])<<8|int64(header[4]))
	far.Close()
	<-done
	return all.Bytes()
}

// dribble writes a part a second, over and over, until the server hangs up.
func dribble(p peer, parts ...string) {
	go p.listen() // a pipe holds nothing: who does not read is not written to
	for i := 0; ; i = (i + 1) % len(parts) {
		if _, err := io.WriteString(p, parts[i]); err != nil {
			return
		}
		<-time.After(time.Second)
	}
}

// TestSlowPeers has hundreds of peers be slow in all that comes before a link:
// the server gives each of them half a minute and a little memory, and serves
// others meanwhile.
func TestSlowPeers(t *testing.T) {
	const (
		peers = 300
		most  = 128 << 10 // bytes for each, both ends
		limit = 31 * time.Second
	)
	for name, slow := range map[string]func(peer){
		"nothing":                    func(p peer) { p.listen() },
		"a hello byte by byte":       func(p peer) { dribble(p, strings.Split(string(p.hello), "")...) },
		"half a hello":               func(p peer) { _, _ = p.Write(p.hello[:len(p.hello)/2]); p.listen() },
		"a hello and no more":        func(p peer) { _, _ = p.Write(p.hello); p.listen() },
		"no request":                 func(p peer) { p.secure().listen() },
		"a request byte by byte":     func(p peer) { dribble(p.secure(), strings.Split("GET "+wsconn.Path+" HTTP/1.1\r\nHost: x\r\n", "")...) },
		"headers that never end":     func(p peer) { headers(p.secure()) },
		"a join whose body dribbles": func(p peer) { body(p.secure()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cloud := jointest.NewCloud(t)
				cfg := cloud.ClientTLS("edge-1")
				cfg.ServerName = "127.0.0.1"
				first := hello(cfg)
				links, err := wsconn.NewListener(wsconn.ListenerConfig{})
				if err != nil {
					t.Fatal(err)
				}
				defer links.Close()
				mux := http.NewServeMux()
				mux.Handle(wsconn.Path, links)
				mux.Handle("/", cloud.Handler())
				l := newPipes()
				server := newEdgeHTTP(mux, cloud.ServerTLS(), slog.New(slog.DiscardHandler))
				ctx, stop := context.WithCancel(t.Context())
				served := make(chan error, 1)
				go func() { served <- serve(ctx, server, tls.NewListener(links.Throttle(l), server.TLSConfig)) }()
				before, begun := inUse(), time.Now()
				var running sync.WaitGroup
				for range peers {
					c := l.dial()
					running.Go(func() {
						defer c.Close()
						slow(peer{c, cfg, first})
					})
				}
				<-time.After(10 * time.Second)
				if each := (inUse() - before) / peers; each > most {
					t.Errorf("each costs %d bytes", each)
				}
				upgrade(t, peer{l.dial(), cfg, nil}.secure())
				running.Wait()
				if took := time.Since(begun); took > limit {
					t.Errorf("they were kept for %v", took)
				}
				stop()
				l.Close()
				<-served
			})
		})
	}
}

// headers sends small headers, more than a server takes.
func headers(c peer) {
	if _, err := io.WriteString(c, "GET "+wsconn.Path+" HTTP/1.1\r\n"); err != nil {
		return
	}
	dribble(c, "X-More: and more\r\n")
}

// body asks to join in a body that comes a byte a second.
func body(c peer) {
	if _, err := io.WriteString(c, "POST /v1/join HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10000\r\n\r\n"); err != nil {
		return
	}
	dribble(c, " ")
}

// upgrade wants a node to be let in now.
func upgrade(t *testing.T, c peer) {
	t.Helper()
	defer c.Close()
	begun := time.Now()
	_, err := io.WriteString(c, "GET "+wsconn.Path+" HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Protocol: edgekit.v1\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols || time.Since(begun) > time.Second {
		t.Errorf("a node got %q after %v", resp.Status, time.Since(begun))
	}
}

// inUse is the memory of heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
