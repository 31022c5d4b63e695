package quicconn_test

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestBadWeather checks that 1,000 objects arrive, and changes to some of them, whatever
// the network does to the packets, and however long that takes.
func TestBadWeather(t *testing.T) {
	far := 100 * time.Millisecond // one way
	for name, w := range map[string]hubtest.Weather{
		"Loss":    {Delay: far, Loss: 0.01},
		"Reorder": {Delay: far, Loss: 0.01, Jitter: 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { badWeather(t, w) })
		})
	}
}

func badWeather(t *testing.T, w hubtest.Weather) {
	c := newBubbleCloud(t)
	p := c.proxy(t, c.link.Addr())
	p.SetWeather(w)
	dir, sink := &hubtest.Directory{}, &hubtest.Sink{}
	server, err := hub.NewServer(hub.ServerConfig{Listener: c.link, Directory: dir})
	if err != nil {
		t.Fatal(err)
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: c.dialer(p.Addr(), "edge-1"), Node: "edge-1", Down: sink})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })

	put := func(version, objects int) {
		key := func(i int) hub.Key { return hub.Key{Resource: "things", Name: strconv.Itoa(i)} }
		for i := range objects {
			dir.Down("edge-1").Put(key(i), version, strings.Repeat("x", 2048))
		}
		all := func() bool {
			for i := range objects {
				if sink.Held(key(i)) != strconv.Itoa(version) {
					return false
				}
			}
			return true
		}
		if err := sink.Wait(ctx, all); err != nil {
			t.Fatalf("version %d of %d objects: %v", version, objects, err)
		}
	}
	put(1, 1000)
	put(2, 50)
	if n := sink.Len(); n != 1000 {
		t.Errorf("the edge holds %d objects", n)
	}
}
