package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/memstore"
)

// fakeJobs is a node with at most one job that waits, "nightly".
type fakeJobs struct {
	waits   bool
	err     error
	done    []string
	changed chan struct{}
	items   []jobs.Status
}

var nightly = jobs.Status{Kind: "NodeUpgradeJob", Name: "nightly", UID: "u-1", Phase: "Pending", From: "v1.2.3", Version: "v1.3.0"}

func (f *fakeJobs) Changed() <-chan struct{} { return f.changed }

func (f *fakeJobs) Waiting() (jobs.Status, bool) {
	s := nightly
	if f.waits {
		at := time.UnixMilli(1000)
		s.WaitingSince = &at
	}
	return s, f.waits
}

func (f *fakeJobs) List() jobs.List {
	return jobs.List{Items: f.items, Upgrade: []byte(`{"Version":"v1.2.3"}`)}
}

func (f *fakeJobs) decide(what, job string) (jobs.Status, error) {
	switch {
	case f.err != nil:
		return jobs.Status{}, f.err
	case !f.waits || job != "" && job != "nightly":
		return jobs.Status{}, jobs.ErrNoJob
	}
	f.done = append(f.done, what)
	return nightly, nil
}

func (f *fakeJobs) Confirm(_ context.Context, job string) (jobs.Status, error) {
	return f.decide("confirm", job)
}

func (f *fakeJobs) Refuse(_ context.Context, r jobs.Refusal) (jobs.Status, error) {
	return f.decide("refuse "+r.Reason, r.Job)
}

func (f *fakeJobs) Upgrade(_ context.Context, u jobs.LocalUpgrade) (jobs.Status, error) {
	if u.File == "" {
		return jobs.Status{}, &jobs.RequestError{Reason: "give one of file, oci and http"}
	}
	f.done = append(f.done, "upgrade "+u.File)
	return nightly, f.err
}

func (f *fakeJobs) Rollback(_ context.Context, r jobs.Rollback) (jobs.Status, error) {
	f.done = append(f.done, "rollback "+r.To)
	return nightly, f.err
}

// TestJobPaths: the paths of jobs in the node's own API, KubeEdge's among them.
func TestJobPaths(t *testing.T) {
	const path = "/api/v1/taskupgrade"
	for _, tt := range []struct {
		method, path, body string
		waits              bool
		err                error
		code               int
		text, done         string
	}{
		{"GET", path, "", true, nil, 200, `"name":"nightly"`, ""},
		{"GET", path, "", false, nil, 404, "no such job", ""},
		{"POST", path + "/confirm-upgrade", "", true, nil, 200, "nightly", "confirm"},
		{"POST", path + "/confirm-upgrade", "nightly\n", true, nil, 200, "nightly", "confirm"},
		{"POST", path + "/confirm-upgrade", "", false, nil, 400, "no valid upgrade tasks", ""},
		{"POST", path + "/confirm-upgrade", "other", true, nil, 400, "no valid upgrade tasks", ""},
		{"POST", path + "/confirm-upgrade", "", true, errors.New("no disk"), 500, "no disk", ""},
		{"GET", path + "/confirm-upgrade", "", true, nil, 405, "use POST", ""},
		{"POST", path + "/refuse-upgrade", `{"job":"nightly","reason":"the arm moves"}`, true, nil, 200, "nightly", "refuse the arm moves"},
		{"POST", path + "/refuse-upgrade", `{"job":"other"}`, true, nil, 404, "no such job", ""},
		{"POST", path + "/refuse-upgrade", `{"jobs":"nightly"}`, true, nil, 400, "unknown field", ""},
		{"POST", path + "/refuse-upgrade", `no`, true, nil, 400, "not such JSON", ""},
		{"GET", path + "/jobs", "", false, nil, 200, `"Version":"v1.2.3"`, ""},
		{"POST", path + "/upgrade", `{"file":"/media/usb/node.tar"}`, false, nil, 200, "nightly", "upgrade /media/usb/node.tar"},
		{"POST", path + "/upgrade", `{}`, false, nil, 400, "give one of", ""},
		{"POST", path + "/upgrade", strings.Repeat("a", 20000), false, nil, 400, "too long", ""},
		{"POST", path + "/rollback", `{"to":"v1.2.2"}`, false, nil, 200, "nightly", "rollback v1.2.2"},
		{"POST", path + "/rollback", ``, false, nil, 200, "nightly", "rollback "},
	} {
		f := &fakeJobs{waits: tt.waits, err: tt.err}
		paths := jobPaths(f)
		api, err := apiserver.New(apiserver.Config{Store: memstore.New(), Node: "gate-7", Extensions: paths})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		api.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.text) || strings.Join(f.done, ",") != tt.done {
			t.Errorf("%s %s %.30q: %d %s, did %q; want %d %s", tt.method, tt.path, tt.body, w.Code, w.Body, f.done, tt.code, tt.text)
		}
		w = httptest.NewRecorder()
		paths[tt.path].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != http.StatusForbidden && w.Code != http.StatusMethodNotAllowed {
			t.Errorf("somebody else: %d", w.Code)
		}
	}
}

// fakeBus collects what is published.
type fakeBus struct {
	handler bus.Handler

	mu        sync.Mutex // a tick of the clock is no order for what the test read before
	published []bus.Message
}

func (b *fakeBus) Ready() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}

func (b *fakeBus) Publish(_ context.Context, m bus.Message) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, m)
	return nil
}

func (b *fakeBus) Subscribe(_ string, handler bus.Handler) (func(), error) {
	b.handler = handler
	return func() {}, nil
}

// TestJobTopics: a job that waits asks over MQTT again and again, is decided there, and its end is
// said there.
func TestJobTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, f := &fakeBus{}, &fakeJobs{changed: make(chan struct{})}
		ended := nightly
		ended.Name, ended.UID, ended.Phase = "before", "u-0", "Successful"
		f.items = []jobs.Status{ended, nightly}
		topics := &jobTopics{bus: b, jobs: f, node: "gate-7", log: slog.New(slog.DiscardHandler)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- topics.run(ctx) }()
		want := func(n int, topic string, parts ...string) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if len(b.published) != n {
				t.Fatalf("%d messages, want %d: %v", len(b.published), n, b.published)
			}
			if n == 0 {
				return
			}
			m := b.published[n-1]
			if m.Topic != "$hw/events/node/gate-7/upgrade/"+topic || m.Retain || m.QoS != bus.AtLeastOnce {
				t.Errorf("%+v", m)
			}
			for _, part := range parts {
				if !strings.Contains(string(m.Payload), part) {
					t.Errorf("%s has no %s", m.Payload, part)
				}
			}
		}
		change := func(do func()) {
			synctest.Wait()
			do()
			old := f.changed
			f.changed = make(chan struct{})
			close(old)
		}
		want(0, "")
		change(func() { f.waits = true })
		want(1, "request", `"job":"nightly"`, `"from":"v1.2.3"`, `"version":"v1.3.0"`, `"since":1000`)
		change(func() {})
		want(1, "request")
		time.Sleep(requestAgain)
		want(2, "request", `"job":"nightly"`)
		for n, tt := range []struct{ payload, part, done string }{
			{`no`, `"code":400`, ""},
			{strings.Repeat(" ", maxConfirm+1), `"code":400`, ""},
			{`{"event_id":"e-1","job":"nightly"}`, `"code":400`, ""},
			{`{"event_id":"e-2","job":"other","decision":"confirm"}`, `"code":404`, ""},
			{`{"event_id":"e-3","uid":"u-9","decision":"confirm"}`, `"code":404`, ""},
			{`{"event_id":"e-4","uid":"u-1","decision":"confirm"}`, `"event_id":"e-4"`, "confirm"},
			{`{"event_id":"e-5","job":"nightly","decision":"refuse","reason":"busy"}`, `"job":"nightly"`, "confirm,refuse busy"},
		} {
			b.handler(ctx, bus.Message{Payload: []byte(tt.payload)})
			want(3+n, "result", tt.part)
			if got := strings.Join(f.done, ","); got != tt.done {
				t.Errorf("%.60s: did %q", tt.payload, got)
			}
		}
		b.handler(ctx, bus.Message{Payload: []byte(`{"decision":"confirm"}`), Retain: true}) // of long ago
		want(9, "result")
		change(func() {
			f.waits = false
			f.items[1].Phase, f.items[1].Message = "RolledBack", "pods are not ready"
		})
		want(10, "result", `"phase":"RolledBack"`, `"reason":"pods are not ready"`)
		change(func() { f.items = nil })
		want(10, "result")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
