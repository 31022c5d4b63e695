package hub_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

func TestSmoke(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		n := memconn.New(memconn.Config{Delay: 100 * time.Millisecond})
		dir := &hubtest.Directory{}
		var mux hub.Mux
		mux.Handle("echo", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) { return r.Message, nil }))
		mux.HandleStream("cat", hub.StreamHandlerFunc(func(_ context.Context, r hub.Request, s hub.Stream) error {
			_, err := io.Copy(s, s)
			return err
		}))
		srv, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: dir, Mux: &mux})
		if err != nil {
			t.Fatal(err)
		}
		sink := &hubtest.Sink{}
		up := &hubtest.AckedSource{}
		cl, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer("a"), Node: "a", Down: sink, Up: up, Mux: &mux})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 1000 {
			dir.Down("a").Put(hub.Key{Resource: "pods", Name: fmt.Sprint(i)}, 1, "x")
			up.Put(hub.Key{Resource: "pods", Name: fmt.Sprint(i)}, 1, "x")
		}
		done := make(chan error, 2)
		go func() { done <- srv.Run(ctx) }()
		go func() { done <- cl.Run(ctx) }()
		start := time.Now()
		if err := sink.Wait(ctx, func() bool { return sink.Len() == 1000 }); err != nil {
			t.Fatal(err)
		}
		u := dir.Up("a")
		if err := u.Wait(ctx, func() bool { return u.Len() == 1000 }); err != nil {
			t.Fatal(err)
		}
		t.Log("1000 down in", time.Since(start), sink.Batches())
		m, err := srv.Call(ctx, "a", hub.Message{Key: hub.Key{Resource: "echo"}, Body: []byte("hi")})
		if err != nil || string(m.Body) != "hi" {
			t.Fatal(m, err)
		}
		st, err := cl.OpenStream(ctx, hub.Message{Key: hub.Key{Resource: "cat"}})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(st, "hello")
		st.CloseWrite()
		b, err := io.ReadAll(st)
		if string(b) != "hello" || err != nil {
			t.Fatal(string(b), err)
		}
		st.Close()
		time.Sleep(10 * time.Minute)
		if !cl.Info().Connected || len(srv.Nodes()) != 1 || len(up.Seen()) != 1000 {
			t.Fatal(cl.Info(), srv.Nodes(), len(up.Seen()))
		}
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
		t.Log(dir.Infos())
	})
}
