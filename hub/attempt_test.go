package hub_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// failingDialer fails its first dials.
type failingDialer struct {
	hub.Dialer
	mu   sync.Mutex
	left int
}

func (d *failingDialer) Dial(ctx context.Context) (hub.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left > 0 {
		d.left--
		return nil, errNoRoute
	}
	return d.Dialer.Dial(ctx)
}

var errNoRoute = errors.New("no route to host")

// TestLastAttempt: while the link is down the client says why and when it tries again, and
// nothing of it stays once there is a session.
func TestLastAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{})
		dialer := &failingDialer{Dialer: n.Dialer("a"), left: 3}
		client, err := hub.NewClient(hub.ClientConfig{Dialer: dialer, Node: "a", Backoff: hub.Backoff{Min: time.Second, Max: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		if got := client.LastAttempt(); got != (hub.Attempt{}) {
			t.Errorf("before Run: %+v", got)
		}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: &hubtest.Directory{}})
		defer program(t, server.Run)()
		defer program(t, client.Run)()
		synctest.Wait()
		got := client.LastAttempt()
		if got.Failed != 1 || !errors.Is(got.Err, errNoRoute) || got.At.IsZero() || got.Next.Before(got.At) {
			t.Errorf("after one attempt: %+v", got)
		}
		<-client.Ready()
		if got := client.LastAttempt(); got != (hub.Attempt{}) {
			t.Errorf("connected: %+v", got)
		}
	})
}
