package memconn_test

import (
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
