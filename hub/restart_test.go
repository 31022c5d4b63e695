package hub_test

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestSlowLoad: while one Load does not return, another object that changes is loaded and
// arrives.
func TestSlowLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, dir, sink := memconn.New(memconn.Config{}), &hubtest.Directory{}, &hubtest.Sink{}
		_, client, stop := pair(t, n, dir, hub.ClientConfig{Down: sink})
		defer stop()
		<-client.Ready()
		slow, quick, far := hub.Key{Name: "slow"}, hub.Key{Name: "quick"}, make(chan struct{})
		defer close(far)
		dir.Down("a").FailLoad(func(key hub.Key, _ string) error {
			if key == slow {
				<-far
			}
			return nil
		})
		dir.Down("a").Put(slow, 1, "")
		synctest.Wait()
		dir.Down("a").Put(quick, 1, "")
		time.Sleep(time.Minute)
		if sink.Held(quick) != "1" {
			t.Error("an object waits for the Load of another one")
		}
	})
}

// TestOwnerCountsAnew: an owner's versions start again below those that its peer holds.
// Nothing older is sent, and both the log and the Stats say so.
func TestOwnerCountsAnew(t *testing.T) {
	for name, load := range map[string]func(*hubtest.Source){
		"older version": func(s *hubtest.Source) { s.Put(hub.Key{Name: "r9"}, 1, "new") },
		"lagging": func(s *hubtest.Source) {
			s.FailLoad(func(hub.Key, string) error { return hub.ErrLagging })
			s.Put(hub.Key{Name: "r9"}, 1, "new")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, sink := memconn.New(memconn.Config{}), &hubtest.Sink{}
				if err := sink.Apply(t.Context(), []hub.Object{{Key: hub.Key{Name: "r9"}, Version: "10"}}); err != nil {
					t.Fatal(err)
				}
				dir, log := &hubtest.Directory{}, &logBuffer{}
				load(dir.Down("a"))
				server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Logger: slog.New(slog.NewTextHandler(log, nil))})
				defer program(t, server.Run)()
				client := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Down = sink })
				defer program(t, client.Run)()
				time.Sleep(2 * time.Second)
				if server.Stats().Behind != 0 {
					t.Error("it is said at once, though an owner may be behind for a moment")
				}
				time.Sleep(time.Hour)
				if got := server.Stats().Behind; got != 1 || sink.Held(hub.Key{Name: "r9"}) != "10" {
					t.Errorf("%d objects are counted as behind, want 1; the peer holds %s", got, sink.Held(hub.Key{Name: "r9"}))
				}
				if n := strings.Count(log.b.String(), "versions must grow"); n != 1 {
					t.Errorf("the log has %d lines of it:\n%s", n, &log.b)
				}
			})
		})
	}
}

// TestOutboxCountsAnew: an outbox's ids start again under the name of a source that its
// peer knows. The events that are lost are logged and counted.
func TestOutboxCountsAnew(t *testing.T) {
	for _, tt := range []struct {
		name     string
		first    int // events that the peer has
		second   int // events of the new outbox
		presumed uint64
		arrive   int
		log      string
	}{
		{"fewer", 5, 3, 3, 5, "level=ERROR"},
		{"as many", 5, 5, 5, 5, "level=INFO"},
		{"more", 3, 5, 3, 5, "level=INFO"},
		{"none", 5, 0, 0, 5, ""},
		{"nothing there", 0, 5, 0, 5, ""},
		{"thousands", 1500, 1400, 1000, 1500, "level=ERROR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, dir, log := memconn.New(memconn.Config{}), &hubtest.Directory{}, &logBuffer{}
				server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir})
				defer program(t, server.Run)()
				run := func(events int) *hub.Client {
					outbox := &hubtest.Outbox{}
					for range events {
						outbox.Append("s", hub.Key{Name: "e"}, "happened")
					}
					client := newClient(t, n, "a", func(cfg *hub.ClientConfig) {
						cfg.Outbox, cfg.Logger = outbox, slog.New(slog.NewTextHandler(log, nil))
					})
					stop := program(t, client.Run)
					time.Sleep(10 * time.Second)
					stop()
					time.Sleep(time.Second)
					return client
				}
				if got := run(tt.first).Stats().EventsPresumed; got != 0 {
					t.Errorf("%d events of a new source were counted", got)
				}
				log.b.Reset()
				if got := run(tt.second).Stats().EventsPresumed; got != tt.presumed {
					t.Errorf("%d events are counted as presumed, want %d", got, tt.presumed)
				}
				if got := dir.Inbox("a").Len(); got != tt.arrive {
					t.Errorf("%d events arrived, want %d", got, tt.arrive)
				}
				said := log.has("the peer has them")
				if said != (tt.log != "") || said && !log.has(tt.log) {
					t.Errorf("the log is\n%s", &log.b)
				}
			})
		})
	}
}
