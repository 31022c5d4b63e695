package wsconn_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"

	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// Kinds of the multiplexer's frames, see frame.go.
const (
	kindOpen    = 1
	kindData    = 2
	kindBlocked = 3
	kindEnd     = 4
	kindClose   = 5
	kindCredit  = 6
)

// put makes a frame: a kind, a stream, and what follows.
func put(kind byte, stream uint64, more ...any) []byte {
	b := binary.AppendUvarint([]byte{kind}, stream)
	for _, m := range more {
		switch m := m.(type) {
		case int:
			b = binary.AppendUvarint(b, uint64(m))
		case []byte:
			b = append(b, m...)
		}
	}
	return b
}

func data(stream uint64, body []byte) []byte { return put(kindData, stream, len(body), body) }

// rawPeer is an edge with a valid certificate that sends arbitrary frames.
func rawPeer(t *testing.T, c *cloud) (*websocket.Conn, hub.Conn) {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: c.ClientTLS("edge-1")}
	t.Cleanup(tr.CloseIdleConnections)
	ws, _, err := websocket.Dial(t.Context(), "https://"+c.addr+wsconn.Path, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{"edgekit.v1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	ws.SetReadLimit(-1)
	t.Cleanup(func() { _ = ws.CloseNow() })
	conn, err := c.link.Accept(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return ws, conn
}

// TestViolations: the connection of a peer that breaks the protocol ends with the reason.
func TestViolations(t *testing.T) {
	big := bytes.Repeat([]byte("x"), 60<<10)
	open := put(kindOpen, 1)
	for _, tt := range []struct {
		name     string
		text     bool
		messages [][]byte
	}{
		{"text message", true, [][]byte{open}},
		{"unknown kind", false, [][]byte{put(9, 1)}},
		{"no stream id", false, [][]byte{{kindOpen}}},
		{"endless number", false, [][]byte{append([]byte{kindOpen}, bytes.Repeat([]byte{0xff}, 12)...)}},
		{"data before the stream is open", false, [][]byte{data(1, []byte("x"))}},
		{"a stream of the cloud's", false, [][]byte{put(kindOpen, 2)}},
		{"stream 0", false, [][]byte{put(kindOpen, 0)}},
		{"a stream opened twice", false, [][]byte{open, open}},
		{"streams out of order", false, [][]byte{put(kindOpen, 5), put(kindOpen, 3)}},
		{"more bytes announced than sent", false, [][]byte{open, put(kindData, 1, 100, []byte("x"))}},
		{"more than the first stream's window", false, [][]byte{open, data(1, big), data(1, big), data(1, big), data(1, big), data(1, big)}},
		{"more than another stream's window", false, [][]byte{open, put(kindOpen, 3), data(3, big)}},
		{"too much credit", false, [][]byte{open, put(kindCredit, 1, 1<<30)}},
		{"credit that overflows", false, [][]byte{open, put(kindCredit, 1, int(^uint(0)>>1))}},
		{"bytes after the end", false, [][]byte{open, put(kindEnd, 1), data(1, []byte("x"))}},
		{"ended twice", false, [][]byte{open, put(kindEnd, 1), put(kindEnd, 1)}},
		{"closed twice", false, [][]byte{open, put(kindClose, 1), put(kindClose, 1)}},
		{"a message over the limit", false, [][]byte{append(open, bytes.Repeat(put(kindCredit, 1, 0), 30_000)...)}},
		{"too many streams", false, func() (all [][]byte) {
			for i := range 4097 {
				all = append(all, put(kindOpen, uint64(2*i+1)))
			}
			return [][]byte{bytes.Join(all, nil)}
		}()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ws, conn := rawPeer(t, newCloud(t))
			kind := websocket.MessageBinary
			if tt.text {
				kind = websocket.MessageText
			}
			for _, m := range tt.messages {
				if err := ws.Write(t.Context(), kind, m); err != nil {
					break // it may hang up before all is written
				}
			}
			var err error
			for err == nil { // the streams opened before come first
				_, err = conn.AcceptStream(t.Context())
			}
			_, typed := errors.AsType[*wsconn.ProtocolError](err)
			if !errors.Is(err, net.ErrClosed) || !typed && tt.name != "a message over the limit" {
				t.Errorf("the connection ended with %v", err)
			}
		})
	}
}

// TestFragments sends a message in many WebSocket frames, with pings and an empty message
// between them, as a proxy may.
func TestFragments(t *testing.T) {
	ws, conn := rawPeer(t, newCloud(t))
	go func() { _, _, _ = ws.Read(context.WithoutCancel(t.Context())) }() // takes the pongs
	w, err := ws.Writer(t.Context(), websocket.MessageBinary)
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("hello "), 1000)
	for _, b := range append(put(kindOpen, 1), data(1, text)...) {
		if _, err := w.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ws.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(t.Context(), websocket.MessageBinary, nil); err != nil {
		t.Fatal(err)
	}
	if err := ws.Write(t.Context(), websocket.MessageBinary, put(kindEnd, 1)); err != nil {
		t.Fatal(err)
	}
	s, err := conn.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%d bytes arrived of %d, %v", len(got), len(text), err)
	}
}

// TestMemoryOfHostilePeers bounds how much memory one peer can make the cloud keep.
func TestMemoryOfHostilePeers(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has a memory of its own")
	}
	const peers, rest = 20, 128 // rest: KiB of a link at rest, both ends
	flood := func(frames ...[]byte) func(*testing.T, *websocket.Conn) {
		return func(t *testing.T, ws *websocket.Conn) {
			for _, f := range frames {
				if err := ws.Write(t.Context(), websocket.MessageBinary, f); err != nil {
					t.Fatal(err)
				}
			}
			if err := ws.Ping(t.Context()); err != nil { // all of it has been read
				t.Fatal(err)
			}
		}
	}
	crumbs := bytes.Repeat(data(1, []byte("x")), 10_000)
	streams := make([]byte, 0, 32<<10)
	for i := range 4096 {
		streams = append(streams, put(kindOpen, uint64(2*i+1))...)
	}
	for _, tt := range []struct {
		name string
		kib  int // that one peer may cost
		do   func(*testing.T, *websocket.Conn)
	}{
		{"silent", rest, flood()},
		{"a message that never ends", rest + 128, func(t *testing.T, ws *websocket.Conn) {
			w, err := ws.Writer(t.Context(), websocket.MessageBinary)
			if err == nil {
				_, err = w.Write(make([]byte, 20<<10))
			}
			if err == nil {
				err = ws.Ping(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"crumbs that nobody reads", rest + 64, flood(put(kindOpen, 1), crumbs[:40_000])},
		{"a full window that nobody reads", rest + 512, flood(put(kindOpen, 1), data(1, make([]byte, 60<<10)), data(1, make([]byte, 60<<10)), data(1, make([]byte, 60<<10)))},
		{"all streams that it may open", rest + 4096/2, flood(streams)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCloud(t)
			before := heap()
			for range peers {
				ws, _ := rawPeer(t, c)
				go func() { _, _, _ = ws.Read(context.WithoutCancel(t.Context())) }()
				tt.do(t, ws)
			}
			// Both ends are in this process.
			if per := (heap() - before) / peers / 1024; per > tt.kib {
				t.Errorf("%d KiB for each peer, want at most %d", per, tt.kib)
			} else {
				t.Logf("%d KiB for each peer", per)
			}
		})
	}
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}
