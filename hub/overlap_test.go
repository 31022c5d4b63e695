package hub_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestNoTwoSessionsOfANode: a node's session ends slowly, since its Sink is at work.
// Meanwhile the node connects a second and a third time: neither session begins before
// the first one has ended. Once the third began when the second had given up, and the
// first session's Sink and Inbox then overwrote what the third had sent.
func TestNoTwoSessionsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
		server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
		defer program(t, server.Run)()
		applying, goOn := make(chan struct{}), make(chan struct{})
		dir.Up("a").FailApply(func([]hub.Object) error {
			close(applying)
			<-goOn
			return nil
		})
		up := &hubtest.Source{}
		up.Put(hub.Key{Resource: "pods", Name: "p"}, 1, "slow")
		first := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Up, cfg.Instance = up, "first" })
		stopFirst := program(t, first.Run)
		<-applying
		stopFirst()

		welcomed := make(chan time.Time, 2)
		for i := range 2 {
			conn, control := dialRaw(t, n, "a")
			defer conn.Close()
			if _, err := control.Write(hub.HelloOf("a", "second", uint64(i+1))); err != nil {
				t.Fatal(err)
			}
			go func() {
				b := make([]byte, 512)
				n, _ := control.Read(b)
				if bytes.Contains(b[:n], []byte("hub.batch")) { // which a welcome offers, and a refusal does not
					welcomed <- time.Now()
				}
			}()
			<-time.After(time.Second)
		}
		if len(welcomed) > 0 {
			t.Error("another session began while the first one's Sink was at work")
		}
		close(goOn)
		synctest.Wait()
		if len(welcomed) == 0 {
			t.Error("no session began when the first one was over")
		}
	})
}
