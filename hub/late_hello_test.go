package hub_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestLateHello: the server reads the hello of a killed program after the next run of the
// program has begun a session. The session stays, and no duplicate is reported. Once the
// dead run fenced the living one, which then had no link for five minutes.
func TestLateHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
		defer program(t, server.Run)()
		client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
			cfg.Instance, cfg.Earlier = "third", []string{"second", "first"}
		})
		defer program(t, client.Run)()
		<-client.Ready()
		for _, killed := range []string{"first", "second"} {
			conn, control := dialRaw(t, n, "a")
			if _, err := control.Write(hub.HelloOf("a", killed, 1)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			conn.Close()
			time.Sleep(time.Second)
			if client.Fenced() != nil || !client.Info().Connected {
				t.Fatalf("the late hello of the %s run took the node from the one that lives", killed)
			}
		}
		if d := dir.Duplicates(); len(d) > 0 {
			t.Errorf("runs that have ended are reported as a duplicate: %+v", d)
		}
	})
}

// TestEarlierIsChecked has a Client that names too many earlier runs, or none by an
// empty name.
func TestEarlierIsChecked(t *testing.T) {
	n := memconn.New(memconn.Config{})
	for _, earlier := range [][]string{{""}, {"a", "b", "c", "d", "e"}} {
		if _, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer("a"), Node: "a", Earlier: earlier}); err == nil {
			t.Errorf("earlier runs %q are taken", earlier)
		}
	}
}
