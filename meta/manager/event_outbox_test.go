package manager_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/meta/metrics"
)

func appendEvents(t *testing.T, m *manager.Manager, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		must(t, m.Append(t.Context(), meta.Key{Resource: "events", Namespace: "a", Name: fmt.Sprint(i)}, []byte("body")))
	}
}

// readEvents reads all waiting events, as the link does.
func readEvents(t *testing.T, m *manager.Manager) (source string, names []string, ids []uint64) {
	t.Helper()
	sources, err := m.EventOutbox().Sources(t.Context())
	must(t, err)
	for s := range sources {
		source = s
	}
	for after := uint64(0); source != ""; {
		e, err := m.EventOutbox().Next(t.Context(), source, after)
		if errors.Is(err, io.EOF) {
			return source, names, ids
		}
		must(t, err)
		if e.Source != source || e.ID <= after || string(e.Body) != "body" {
			t.Fatalf("after %d comes %+v", after, e)
		}
		after = e.ID
		names, ids = append(names, e.Key.Name), append(ids, e.ID)
	}
	return "", nil, nil
}

// TestEventsKeepOrder: the outbox keeps the order of events over restarts, drops the
// oldest beyond its limit, forgets acknowledged ones, and never uses an id twice.
func TestEventsKeepOrder(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	m := newManager(t, manager.Config{Store: store, MaxEvents: 5})
	if s, _, _ := readEvents(t, m); s != "" {
		t.Errorf("an empty outbox has source %q", s)
	}
	var sources []string
	defer m.EventOutbox().Subscribe(func(source string) { sources = append(sources, source) })()
	appendEvents(t, m, 0, 8)
	first, names, ids := readEvents(t, m)
	if !slices.Equal(names, []string{"3", "4", "5", "6", "7"}) || m.Stats().EventsDropped != 3 || len(sources) != 8 || sources[0] != first {
		t.Errorf("%q wait, %+v, told %q", names, m.Stats(), sources)
	}
	must(t, m.EventOutbox().Acked(t.Context(), first, ids[2]))
	must(t, m.EventOutbox().Acked(t.Context(), first, ids[1])) // told again
	must(t, m.EventOutbox().Acked(t.Context(), "other", ids[4]))

	m = newManager(t, manager.Config{Store: store, MaxEvents: 5})
	appendEvents(t, m, 8, 10)
	source, names, now := readEvents(t, m)
	if source != first || !slices.Equal(names, []string{"6", "7", "8", "9"}) {
		t.Errorf("after a restart %q wait in %s, formerly %s", names, source, first)
	}
	must(t, m.EventOutbox().Acked(t.Context(), source, now[3]))
	wantKeys(t, store, meta.Local+"manager/events/")
	wantKeys(t, store, meta.Events, "events/events/a/5", "events/events/a/6", "events/events/a/7", "events/events/a/8", "events/events/a/9")

	m = newManager(t, manager.Config{Store: store, MaxEvents: 5})
	appendEvents(t, m, 10, 11)
	if _, _, last := readEvents(t, m); len(last) != 1 || last[0] <= now[3] {
		t.Errorf("id %v after %v", last, now)
	}
	appendEvents(t, m, 7, 8) // the same name again
	wantKeys(t, store, meta.Events, "events/events/a/10", "events/events/a/6", "events/events/a/7", "events/events/a/8", "events/events/a/9")

	// Another store, another sequence.
	m = newManager(t, manager.Config{})
	appendEvents(t, m, 0, 1)
	if source, _, _ := readEvents(t, m); source == first {
		t.Errorf("a new store goes on with %s", source)
	}
}

func TestAppendRefuses(t *testing.T) {
	m := newManager(t, manager.Config{})
	for name, o := range map[string]meta.Object{
		"no key": {}, "too large": {Key: meta.Key{Resource: "events", Name: "e"}, Body: make([]byte, meta.MaxValue)},
	} {
		if err := m.Append(t.Context(), o.Key, o.Body); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMetrics(t *testing.T) {
	m := newManager(t, manager.Config{MaxEvents: 2})
	appendEvents(t, m, 0, 5)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewManager(m))
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := page.Body
	for _, want := range []string{"\nedgekit_meta_events_waiting 2\n", "\nedgekit_meta_events_dropped_total 3\n", "\nedgekit_meta_connected 0\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
