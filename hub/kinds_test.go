package hub_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// lastKind is beyond the numbers that kinds of frames may have.
const lastKind = 200

// TestNoKindActsForAnother: node a sends a frame of each kind that names b, as the first
// of a connection, in its session and on a stream of its own. Nothing of b changes, and
// handlers see a as the caller. Add a new kind to FramesNaming.
func TestNoKindActsForAnother(t *testing.T) {
	frames := hub.FramesNaming("b")
	for number := 1; number < lastKind; number++ {
		if hub.KnownKind(number) != (frames[number] != nil) {
			t.Errorf("frame %d is known: %v; FramesNaming has it: %v", number, hub.KnownKind(number), frames[number] != nil)
		}
	}
	for number, frame := range frames {
		t.Run(fmt.Sprint(number), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { actFor(t, frame) })
		})
	}
}

func actFor(t *testing.T, frame []byte) {
	n, dir, mux := memconn.New(memconn.Config{}), &hubtest.Directory{}, &hub.Mux{}
	var mu sync.Mutex
	var asked []string
	note := func(node string) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, node)
	}
	mux.Handle("nodes", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
		note(r.Node)
		return hub.Message{}, nil
	}))
	mux.HandleStream("nodes", hub.StreamHandlerFunc(func(_ context.Context, r hub.Request, _ hub.Stream) error {
		note(r.Node)
		return nil
	}))
	of := hub.Key{Resource: "nodes", Namespace: "b", Name: "b"}
	dir.Down("b").Put(of, 1, "b's own")
	dir.Outbox("b").Append("b", of, "for b") // which takes no events, so that it waits
	server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Mux: mux})
	defer program(t, server.Run)()
	held := &hubtest.Sink{}
	victim := newClient(t, n, "b", func(cfg *hub.ClientConfig) { cfg.Down = held })
	defer program(t, victim.Run)()
	<-victim.Ready()
	before := victim.Info()

	hello := func(i int) []byte { return hub.HelloOf("a", "raw", uint64(i)) }
	for i, way := range []struct{ first, other []byte }{
		{frame, nil}, {slices.Concat(hello(1), frame), nil}, {hello(2), frame},
	} {
		conn, err := n.Dialer("a").Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{way.first, way.other} {
			s, err := conn.OpenStream(t.Context())
			if err != nil {
				break // the server has hung up
			}
			go func() { _, _ = io.Copy(io.Discard, s) }()
			_, _ = s.Write(b) // the server may hang up before
			<-time.After(time.Second)
		}
		conn.Close()
		synctest.Wait()
		if now := victim.Info(); now != before {
			t.Errorf("way %d: b's session was %+v, is %+v", i, before, now)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if slices.ContainsFunc(asked, func(node string) bool { return node != "a" }) {
		t.Errorf("asked were as %v", asked)
	}
	if !slices.ContainsFunc(dir.Infos(), func(i hub.Info) bool { return i.Node == "a" && i.Connected }) {
		t.Error("a had no session to try it in")
	}
	infos := slices.DeleteFunc(dir.Infos(), func(i hub.Info) bool { return i.Node != "b" })
	if len(dir.Up("b").Log()) != 0 || dir.Inbox("b").Len() != 0 || dir.Outbox("b").Len() != 1 || len(infos) != 1 {
		t.Errorf("b: %d objects and %d events reported, %d events wait, infos %v", len(dir.Up("b").Log()), dir.Inbox("b").Len(), dir.Outbox("b").Len(), infos)
	}
	if held.Held(of) != "1" || len(held.Log()) != 1 {
		t.Errorf("b holds %v", held.Log())
	}
}
