package manager_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud answers queries from a map and counts them.
type cloud struct {
	mu      sync.Mutex
	answers map[hub.Key]string
	err     error // instead of any answer
	asked   int
}

func (c *cloud) Call(_ context.Context, q hub.Message) (hub.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	if c.err != nil {
		return hub.Message{}, c.err
	}
	body, ok := c.answers[q.Key]
	if !ok {
		return hub.Message{}, &hub.Error{Code: hub.CodeNotFound, Text: "no such object"}
	}
	return hub.Message{Operation: hub.Response, Key: q.Key, Version: "1", Body: []byte(body + string(q.Body))}, nil
}

func (c *cloud) set(key hub.Key, body string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answers == nil {
		c.answers = make(map[hub.Key]string)
	}
	c.answers[key], c.err = body, err
}

func (c *cloud) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked
}

func newManager(t *testing.T, cfg manager.Config) *manager.Manager {
	t.Helper()
	if cfg.Store == nil {
		store := memstore.New()
		t.Cleanup(func() { store.Close() })
		cfg.Store = store
	}
	cfg.Node = "gate-7"
	m, err := manager.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// run runs m until the test's end.
func run(t *testing.T, m *manager.Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func connect(t *testing.T, m *manager.Manager, connected bool) {
	t.Helper()
	if err := m.NodeConnection(t.Context(), hub.Info{Connected: connected, Since: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func object(resource, name, body string) meta.Object {
	return meta.Object{Key: meta.Key{Resource: resource, Namespace: "a", Name: name}, Body: []byte(body)}
}

// ending is a report of a deletion, which is removed when it is acknowledged.
func ending(name, how string) meta.Object { return object("pods", name, how) }

// pending lists the reports that the outbox will send, as "resource/namespace/name".
func pending(t *testing.T, m *manager.Manager) []string {
	t.Helper()
	versions, err := m.StateOutbox().Versions(t.Context())
	must(t, err)
	var keys []string
	for k := range maps.Collect(versions) {
		keys = append(keys, k.String())
	}
	slices.Sort(keys)
	return keys
}

func wantPending(t *testing.T, m *manager.Manager, want ...string) {
	t.Helper()
	if got := pending(t, m); !slices.Equal(got, want) {
		t.Errorf("outbox wants to send %q, want %q", got, want)
	}
}

func load(t *testing.T, m *manager.Manager, resource, name string) hub.Object {
	t.Helper()
	o, err := m.StateOutbox().Load(t.Context(), hub.Key{Resource: resource, Namespace: "a", Name: name}, "")
	must(t, err)
	return o
}

func ack(t *testing.T, m *manager.Manager, objects ...hub.Object) {
	t.Helper()
	must(t, m.StateOutbox().Acked(t.Context(), objects))
}

// keysIn lists the keys of an area of the store.
func keysIn(t *testing.T, s meta.Store, area string) []string {
	t.Helper()
	list, _, err := s.List(t.Context(), area)
	must(t, err)
	var keys []string
	for _, r := range list {
		keys = append(keys, r.Key)
	}
	return keys
}

func wantKeys(t *testing.T, s meta.Store, area string, want ...string) {
	t.Helper()
	if got := keysIn(t, s, area); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", area, got, want)
	}
}

var errLink = errors.New("link is down")

func peerError(code hub.Code) error {
	return fmt.Errorf("call: %w", &hub.Error{Code: code, Text: "no"})
}
