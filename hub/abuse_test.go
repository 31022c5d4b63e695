package hub_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// frameBytes is a frame of the given number, with its length before it.
func frameBytes(number protowire.Number, body []byte) []byte {
	frame := protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), body)
	return protowire.AppendBytes(nil, frame)
}

func helloBytes(low, high uint64, node, instance string) []byte {
	b := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), low)
	b = protowire.AppendVarint(protowire.AppendTag(b, 2, protowire.VarintType), high)
	b = protowire.AppendString(protowire.AppendTag(b, 3, protowire.BytesType), node)
	return frameBytes(1, protowire.AppendString(protowire.AppendTag(b, 4, protowire.BytesType), instance))
}

// dialRaw connects as a node, for a test that writes arbitrary bytes to the control
// stream.
func dialRaw(t *testing.T, n *memconn.Network, node string) (hub.Conn, hub.Stream) {
	t.Helper()
	conn, err := n.Dialer(node).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	control, err := conn.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn, control
}

// logBuffer is a log that a test reads.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.b.String(), text)
}

func (l *logBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// TestBadPeers: a peer that breaks the protocol, from its first byte on, loses its
// connection, is counted, and leaves a line in the log.
func TestBadPeers(t *testing.T) {
	good := helloBytes(1, 1, "a", "raw")
	for _, tt := range []struct {
		name   string
		sends  []byte
		log    string
		result hub.HandshakeResult
		ended  hub.EndReason // of the session, if there is one
	}{
		{"garbage", []byte(strings.Repeat("GET / HTTP/1.1\r\n", 10)), "connection without a handshake", hub.HandshakeGarbage, ""},
		{"a ping before the hello", frameBytes(4, nil), "connection without a handshake", hub.HandshakeGarbage, ""},
		{"a hello of a gigabyte", protowire.AppendVarint(nil, 1<<30), "connection without a handshake", hub.HandshakeGarbage, ""},
		{"never a hello", nil, "connection without a handshake", hub.HandshakeLost, ""},
		{"half a hello", good[:5], "connection without a handshake", hub.HandshakeLost, ""},
		{"a version of the future", helloBytes(7, 9, "a", "raw"), "protocol versions 7 to 9", hub.HandshakeVersion, ""},
		{"another node's name", helloBytes(1, 1, "b", "raw"), "its certificate is for", hub.HandshakeIdentity, ""},
		{"no instance", helloBytes(1, 1, "a", ""), "the instance must have", hub.HandshakeInvalid, ""},
		{"a second hello", append(bytes.Clone(good), good...), "after the handshake", hub.HandshakeOK, hub.EndViolation},
		{"a frame of a gigabyte", protowire.AppendVarint(bytes.Clone(good), 1<<30), "frame of 1073741824 bytes", hub.HandshakeOK, hub.EndViolation},
		{"an ack of nothing", append(bytes.Clone(good), frameBytes(10, []byte{8, 9})...), "ack of 9", hub.HandshakeOK, hub.EndViolation},
		{"silence after the hello", good, "peer does not answer", hub.HandshakeOK, hub.EndSilent},
		{"pings whose answers nobody reads", append(bytes.Clone(good), bytes.Repeat(frameBytes(4, []byte{8, 1}), 100_000)...), "peer does not read", hub.HandshakeOK, hub.EndViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, log := memconn.New(memconn.Config{Window: 4 << 10}), &logBuffer{}
				server := newServer(t, hub.ServerConfig{
					Listener: n, Directory: &hubtest.Directory{}, Logger: slog.New(slog.NewTextHandler(log, nil)),
				})
				defer program(t, server.Run)()
				conn, s := dialRaw(t, n, "a")
				defer conn.Close()
				_, _ = s.Write(tt.sends) // the server may hang up meanwhile
				time.Sleep(time.Hour)
				stats := server.Stats()
				if stats.Handshakes[tt.result] != 1 || tt.ended != "" && stats.Ended[tt.ended] != 1 || len(stats.Sessions) != 0 {
					t.Errorf("counted were %v, ended %v, stand %v", stats.Handshakes, stats.Ended, stats.Sessions)
				}
				if !log.has(tt.log) {
					t.Errorf("the log has no %q:\n%s", tt.log, &log.b)
				}
				// The next peer is served.
				next := newClient(t, n, "b", nil)
				defer program(t, next.Run)()
				<-next.Ready()
			})
		})
	}
}

// TestIdleHandshakesAreCheap: 200 peers that never finish their hello take a bounded
// amount of memory, and are closed in the end.
func TestIdleHandshakesAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers, most = 200, 64 << 10
		n := memconn.New(memconn.Config{})
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		defer program(t, server.Run)()
		before := inUse()
		for range peers {
			conn, s := dialRaw(t, n, "a")
			defer conn.Close()
			_, _ = s.Write(append(protowire.AppendVarint(nil, 16<<10), "the rest never comes"...))
		}
		synctest.Wait()
		if each := (inUse() - before) / peers; each > most {
			t.Errorf("a peer costs %d bytes", each)
		}
		time.Sleep(time.Minute)
		if got := server.Stats().Handshakes[hub.HandshakeLost]; got != peers {
			t.Errorf("%d of %d were given up", got, peers)
		}
	})
}

// inUse is the memory of heap and stacks.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestOneNodeIsNotAnother: node a names node b in everything that it can send, and all of
// it counts as a's.
func TestOneNodeIsNotAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, mux := memconn.New(memconn.Config{}), &hubtest.Directory{}, &hub.Mux{}
		var mu sync.Mutex
		asked := map[string]string{}
		note := func(kind string, r hub.Request) {
			mu.Lock()
			defer mu.Unlock()
			asked[kind] = r.Node
		}
		mux.Handle("nodes", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
			note("call", r)
			return hub.Message{}, nil
		}))
		mux.HandleStream("nodes", hub.StreamHandlerFunc(func(_ context.Context, r hub.Request, _ hub.Stream) error {
			note("stream", r)
			return nil
		}))
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Mux: mux})
		defer program(t, server.Run)()
		victim := newClient(t, n, "b", nil)
		defer program(t, victim.Run)()
		<-victim.Ready()
		of := hub.Key{Resource: "nodes", Namespace: "b", Name: "b"}
		up, outbox := &hubtest.AckedSource{}, &hubtest.Outbox{}
		a := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Up, cfg.Outbox = up, outbox })
		defer program(t, a.Run)()
		<-a.Ready()
		synctest.Wait() // the ends have compared what they have: only after that is a delete sent of a key that the other never had
		up.Put(of, 1, "report")
		up.Delete(hub.Key{Resource: "pods", Namespace: "b", Name: "x"}, 2)
		outbox.Append("b", of, "event")
		if _, err := a.Call(t.Context(), hub.Message{Key: of}); err != nil {
			t.Fatal(err)
		}
		s, err := a.OpenStream(t.Context(), hub.Message{Key: of})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Read(make([]byte, 1))
		s.Close()
		time.Sleep(time.Second)
		mu.Lock()
		defer mu.Unlock()
		if asked["call"] != "a" || asked["stream"] != "a" {
			t.Errorf("asked were as %v", asked)
		}
		if dir.Up("a").Held(of) != "1" || len(dir.Up("a").Log()) != 2 || dir.Inbox("a").Len() != 1 {
			t.Error("what a sent did not arrive as a's")
		}
		if len(dir.Up("b").Log()) != 0 || dir.Inbox("b").Len() != 0 {
			t.Error("what a sent arrived as b's")
		}
		// As b it does not get a session.
		impostor := newClient(t, n, "b", func(cfg *hub.ClientConfig) { cfg.Dialer = n.Dialer("a") })
		if refused, ok := errors.AsType[*hub.RefusedError](impostor.Run(t.Context())); !ok || refused.Err.Code != hub.CodeForbidden {
			t.Errorf("a as b: %v", refused)
		}
		if !victim.Info().Connected {
			t.Error("b lost its session")
		}
	})
}
