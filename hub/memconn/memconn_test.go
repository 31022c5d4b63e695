package memconn_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(cfg memconn.Config) func(*testing.T) hubtest.Transport {
	return func(t *testing.T) hubtest.Transport {
		n := memconn.New(cfg)
		t.Cleanup(func() { n.Close() })
		return hubtest.Transport{
			Listener: n, Dialer: func(node string) hub.Dialer { return n.Dialer(node) }, Cut: n.Cut, Stall: n.Stall,
		}
	}
}

func TestHub(t *testing.T) {
	hubtest.Run(t, hubtest.Suite{Open: open(memconn.Config{}), Bubble: synctest.Test})
}

// TestHubSlow runs the suite over a link of 200 ms round trip.
func TestHubSlow(t *testing.T) {
	hubtest.Run(t, hubtest.Suite{Open: open(memconn.Config{Delay: 100 * time.Millisecond}), Bubble: synctest.Test})
}

func ExampleNetwork() {
	n := memconn.New(memconn.Config{Delay: time.Millisecond})
	defer n.Close()
	go func() {
		conn, err := n.Dialer("edge-1").Dial(context.Background())
		if err != nil {
			return
		}
		defer conn.Close()
		s, err := conn.OpenStream(context.Background())
		if err != nil {
			return
		}
		_, _ = io.WriteString(s, "hello")
		_ = s.CloseWrite()
		_, _ = io.Copy(io.Discard, s) // until the cloud has closed it
	}()
	conn, err := n.Accept(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := conn.AcceptStream(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	text, err := io.ReadAll(s)
	fmt.Printf("%s says %q, %v\n", conn.Peer().Name, text, err)
	conn.Close()
	// Output: edge-1 says "hello", <nil>
}
