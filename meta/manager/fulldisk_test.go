package manager_test

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestLinkOnFullDisk fills a node's disk while objects come down and reports, events and
// their acknowledgements are under way. The session goes on, nothing is acknowledged that
// was not stored, the report of the node is sent from memory, and everything is delivered
// once there is room.
func TestLinkOnFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		store := &badDisk{Store: memstore.New()}
		defer store.Close()
		dir, network := &hubtest.Directory{}, memconn.New(memconn.Config{Delay: 100 * time.Millisecond})
		server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: dir})
		must(t, err)
		m := newManager(t, manager.Config{Store: store})
		link, err := hub.NewClient(hub.ClientConfig{
			Dialer: network.Dialer("gate-7"), Node: "gate-7", Down: m.Down(), Up: m.StateOutbox(), Outbox: m.EventOutbox(),
			Connected: []func(hub.Info){func(i hub.Info) { _ = m.NodeConnection(ctx, i) }},
		})
		must(t, err)
		stop := run(t, m)
		done := make(chan error, 2)
		go func() { done <- server.Run(ctx) }()
		go func() { done <- link.Run(ctx) }()
		pods, status := dir.Down("gate-7"), hub.Key{Resource: "nodes", Namespace: "a", Name: "n"}
		pods.Put(pod("a", "").Key, 1, "first")
		must(t, m.Update(t.Context(), object("nodes", "n", "fine")))
		time.Sleep(10 * time.Second)
		epoch := link.Info().Epoch

		// Objects that are under way now arrive at a full disk, and so do the cloud's
		// acknowledgements.
		pods.Put(pod("a", "").Key, 2, "second")
		pods.Put(pod("b", "").Key, 1, "first")
		must(t, m.Update(t.Context(), object("nodes", "n", "still fine")))
		must(t, m.Append(t.Context(), meta.Key{Resource: "events", Namespace: "a", Name: "e"}, []byte("x")))
		synctest.Wait()
		store.errno.Store(int32(syscall.ENOSPC))
		time.Sleep(time.Minute)
		must(t, m.UpdateInMemory(t.Context(), object("nodes", "n", "disk is full")))
		time.Sleep(time.Hour)
		if got := link.Info(); !got.Connected || got.Epoch != epoch {
			t.Errorf("the link went: %+v, was epoch %d", got, epoch)
		}
		if r, err := store.Get(t.Context(), meta.Down+meta.Key(pod("a", "").Key).Path()); err != nil {
			t.Error(err)
		} else if o, err := meta.DecodeObject(meta.Down, r); err != nil || o.Version != "1" {
			t.Errorf("the store has %+v, %v", o, err)
		}
		if got := lastReport(dir, status); got != "disk is full" {
			t.Errorf("the cloud knows that the node is %q", got)
		}
		if n := link.Stats().Retried[hub.ClassState]; n == 0 || n > 3600 {
			t.Errorf("tried again %d times in an hour", n)
		}

		store.errno.Store(0)
		must(t, m.Update(t.Context(), object("nodes", "n", "fine again")))
		time.Sleep(time.Minute)
		for _, o := range []hub.Object{pod("a", "2"), pod("b", "1")} {
			r, err := store.Get(t.Context(), meta.Down+meta.Key(o.Key).Path())
			must(t, err)
			if have, err := meta.DecodeObject(meta.Down, r); err != nil || have.Version != o.Version {
				t.Errorf("%s: %+v, %v", o.Key, have, err)
			}
		}
		wantPending(t, m)
		if got := lastReport(dir, status); got != "fine again" || m.Stats().EventsWaiting != 0 || link.Info().Epoch != epoch {
			t.Errorf("with room again: the node is %q, %d events wait, %+v", got, m.Stats().EventsWaiting, link.Info())
		}
		stop()
		cancel()
		for range 2 {
			must(t, <-done)
		}
	})
}

// lastReport is the cloud's last report of a key.
func lastReport(dir *hubtest.Directory, key hub.Key) string {
	var last string
	for _, o := range dir.Up("gate-7").Log() {
		if o.Key == key {
			last = string(o.Body)
		}
	}
	return last
}
