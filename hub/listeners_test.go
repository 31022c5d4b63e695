package hub_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
)

func TestListenersAreChecked(t *testing.T) {
	one := memconn.New(memconn.Config{})
	for want, all := range map[string][]hub.Listener{"at least one": nil, "Listener 2 of 2 is nil": {one, nil}} {
		if l, err := hub.Listeners(all...); err == nil || l != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want an error with %q", err, want)
		}
	}
}

func TestListeners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := memconn.New(memconn.Config{}), memconn.New(memconn.Config{})
		l, err := hub.Listeners(one, two)
		if err != nil {
			t.Fatal(err)
		}
		// Many connections come over both at the same time; each is accepted once.
		var wg sync.WaitGroup
		for i := range 40 {
			n := one
			if i%2 == 1 {
				n = two
			}
			wg.Go(func() {
				if _, err := n.Dialer(string(rune('A' + i))).Dial(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		seen := map[string]bool{}
		for range 40 {
			c, err := l.Accept(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			seen[c.Peer().Name] = true
		}
		wg.Wait()
		if len(seen) != 40 {
			t.Errorf("%d nodes of 40 were accepted", len(seen))
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		for range 2 { // one waits, the other for its turn
			go func() {
				_, err := l.Accept(ctx)
				ended <- err
			}()
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Accept without time: %v", err)
			}
		}
		if l.Addr() != one.Addr() {
			t.Error("the address is not the first one's")
		}
		// The error of a listener that fails is returned.
		two.Close()
		if _, err := l.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("one of them is closed: %v", err)
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
		if _, err := l.Accept(t.Context()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}
