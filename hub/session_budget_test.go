package hub_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// openBytes is a call's or stream's opening frame without its length.
func openBytes(class uint64, id uint64, resource string, body []byte) []byte {
	m := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), resource)
	m = protowire.AppendVarint(protowire.AppendTag(m, 5, protowire.VarintType), uint64(hub.Query))
	m = protowire.AppendVarint(protowire.AppendTag(m, 6, protowire.VarintType), id)
	m = protowire.AppendBytes(protowire.AppendTag(m, 8, protowire.BytesType), body)
	o := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), class)
	o = protowire.AppendBytes(protowire.AppendTag(o, 3, protowire.BytesType), m)
	return protowire.AppendBytes(protowire.AppendTag(nil, 14, protowire.BytesType), o)
}

// TestAttackOpenCalls: one node opens 100 calls and sends all but the last byte of each.
// MaxCalls of them have a slot, and together they hold no more than the session's budget.
func TestAttackOpenCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 64
		n := memconn.New(memconn.Config{Window: 64 << 10})
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		defer program(t, server.Run)()
		conn, control := dialRaw(t, n, "a")
		if _, err := control.Write(helloBytes(1, 1, "a", "raw")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		frame := openBytes(1, 1, "nodes", make([]byte, 4<<20-100))
		before, peak := inUse(), int64(0)
		var senders sync.WaitGroup
		for range 100 {
			st, err := conn.OpenStream(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			senders.Go(func() {
				_, _ = st.Write(binary.AppendUvarint(nil, uint64(len(frame))))
				_, _ = st.Write(frame[:len(frame)-1])
			})
		}
		for range 12 {
			synctest.Wait()
			peak = max(peak, inUse()-before)
			time.Sleep(time.Second)
		}
		// The unread bytes that memconn holds do not count as the server's.
		fmt.Printf("RESULT attack_open_calls_mib %d MiB\n", peak>>20)
		if peak > most<<20 {
			t.Errorf("100 unfinished calls hold %d MiB, %d are allowed", peak>>20, most)
		}
		conn.Close()
		senders.Wait()
	})
}

// TestLargeCallsShareABudget sends calls of 1 MiB, as peers of every release do, against
// a budget of 2 MiB: two are served at a time, the third waits and is served, and one
// that waits for too long is refused with CodeExhausted.
func TestLargeCallsShareABudget(t *testing.T) {
	for _, tt := range []struct {
		name    string
		session int
		server  int64
		code    hub.Code // of the third
		served  time.Duration
	}{
		{"the third waits", 2<<20 + 64<<10, 0, 0, 3 * time.Second},
		{"the third waits for too long", 2<<20 + 64<<10, 0, hub.CodeExhausted, 20 * time.Second},
		{"the server has no room", 0, 2<<20 + 64<<10, hub.CodeExhausted, 3 * time.Second},
		{"there is room", 0, 0, 0, 20 * time.Second},
		{"no limit", 0, -1, 0, 20 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, mux := memconn.New(memconn.Config{}), &hub.Mux{}
				body := bytes.Repeat([]byte("x"), 1<<20)
				mux.Handle("nodes", hub.HandlerFunc(func(ctx context.Context, r hub.Request) (hub.Message, error) {
					time.Sleep(tt.served)
					if !bytes.Equal(r.Message.Body, body) {
						return hub.Message{}, errors.New("the body is another")
					}
					return hub.Message{Body: []byte("yes")}, nil
				}))
				server := newServer(t, hub.ServerConfig{
					Listener: n, Directory: &hubtest.Directory{}, Mux: mux, MaxCallBytes: tt.server,
					Limits: hub.Limits{MaxFrame: 1<<20 + 1<<10, MaxCallBytes: tt.session},
				})
				defer program(t, server.Run)()
				client := newClient(t, n, "a", nil)
				defer program(t, client.Run)()
				<-client.Ready()
				call := func() error {
					_, err := client.Call(t.Context(), hub.Message{Key: hub.Key{Resource: "nodes"}, Body: body})
					return err
				}
				var calls sync.WaitGroup
				for range 2 {
					calls.Go(func() {
						if err := call(); err != nil {
							t.Error(err)
						}
					})
				}
				synctest.Wait()
				err := call()
				if e, _ := errors.AsType[*hub.Error](err); (err == nil) != (tt.code == 0) || e != nil && (e.Code != tt.code || e.Final()) {
					t.Errorf("the third call: %v", err)
				}
				calls.Wait()
				if err := call(); err != nil { // the others have given their part of the budget back
					t.Errorf("a later call: %v", err)
				}
			})
		})
	}
}

// TestLargeOpenings sends frames over 4 KiB that are no openings, or whose later fields
// contradict the first: the stream ends, and nothing is held for it.
func TestLargeOpenings(t *testing.T) {
	body := make([]byte, 8<<10)
	late := protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), body)
	late = protowire.AppendVarint(protowire.AppendTag(late, 1, protowire.VarintType), 1)
	changed := openBytes(1, 1, "nodes", body)
	_, _, n := protowire.ConsumeTag(changed)
	inner, _ := protowire.ConsumeBytes(changed[n:])
	changed = protowire.AppendBytes(protowire.AppendTag(nil, 14, protowire.BytesType),
		protowire.AppendVarint(protowire.AppendTag(bytes.Clone(inner), 1, protowire.VarintType), 2))
	for name, frame := range map[string][]byte{
		"the class comes last": protowire.AppendBytes(protowire.AppendTag(nil, 14, protowire.BytesType), late),
		"the class changes":    changed,
		"no class that is one": openBytes(7, 1, "nodes", body),
		"an update":            protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), body),
		"zeros":                make([]byte, 8<<10),
		"a length without end": bytes.Repeat([]byte{0xff}, 8<<10),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				net, mux := memconn.New(memconn.Config{}), &hub.Mux{}
				mux.Handle("nodes", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
					t.Error("it was served")
					return hub.Message{}, nil
				}))
				server := newServer(t, hub.ServerConfig{Listener: net, Directory: &hubtest.Directory{}, Mux: mux, Limits: hub.Limits{MaxCalls: 1, MaxStreams: 1}})
				defer program(t, server.Run)()
				conn, control := dialRaw(t, net, "a")
				defer conn.Close()
				if _, err := control.Write(helloBytes(1, 1, "a", "raw")); err != nil {
					t.Fatal(err)
				}
				for range 3 { // more than there are slots
					st, err := conn.OpenStream(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					_, _ = st.Write(protowire.AppendBytes(nil, frame))
					if got, err := st.Read(make([]byte, 1)); err == nil {
						t.Errorf("%d bytes came back", got)
					}
				}
			})
		})
	}
}

// TestLargeCallOverASlowLink sends a call of 1 MiB at 64 KiB a second, which takes longer
// than a stream may be open before its opening frame has come: it is served.
func TestLargeCallOverASlowLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const piece = 64 << 10
		n, mux := memconn.New(memconn.Config{}), &hub.Mux{}
		mux.Handle("nodes", hub.HandlerFunc(func(context.Context, hub.Request) (hub.Message, error) {
			return hub.Message{Body: []byte("yes")}, nil
		}))
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}, Mux: mux})
		defer program(t, server.Run)()
		conn, control := dialRaw(t, n, "a")
		defer conn.Close()
		if _, err := control.Write(helloBytes(1, 1, "a", "raw")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		st, err := conn.OpenStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		frame := openBytes(1, 1, "nodes", make([]byte, 1<<20))
		frame = append(binary.AppendUvarint(nil, uint64(len(frame))), frame...)
		for len(frame) > 0 {
			k := min(piece, len(frame))
			if _, err := st.Write(frame[:k]); err != nil {
				t.Fatalf("with %d bytes left: %v", len(frame), err)
			}
			frame = frame[k:]
			time.Sleep(time.Second)
		}
		answer, err := io.ReadAll(st)
		if err != nil || !bytes.Contains(answer, []byte("yes")) {
			t.Errorf("the answer is %q, %v", answer, err)
		}
	})
}
