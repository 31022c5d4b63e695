package tracing_test

import (
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// span is one that the receiver got.
type span struct {
	service, name     string
	trace, id, parent string
	began, ended      time.Time
	failed            string
	attributes        map[string]string
}

// receiver takes OTLP over HTTP, as a Collector does.
type receiver struct {
	URL string

	mu      sync.Mutex
	spans   []span
	headers http.Header
	bad     []string
	status  int // answered in place of 200
	changed chan struct{}
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{changed: make(chan struct{})}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	r.URL = s.URL
	return r
}

// fail makes the receiver answer a status; 0 ends that.
func (r *receiver) fail(status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = status
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != 0 {
		w.WriteHeader(r.status)
		return
	}
	r.headers = q.Header.Clone()
	body := io.Reader(q.Body)
	if q.Header.Get("Content-Encoding") == "gzip" {
		unzipped, err := gzip.NewReader(q.Body)
		if err != nil {
			r.bad = append(r.bad, err.Error())
			return
		}
		body = unzipped
	}
	raw, err := io.ReadAll(io.LimitReader(body, 16<<20))
	var m collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &m)
	}
	if err != nil || q.URL.Path != "/v1/traces" || q.Header.Get("Content-Type") != "application/x-protobuf" {
		r.bad = append(r.bad, q.URL.Path+" "+q.Header.Get("Content-Type"))
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.takeLocked(&m)
	close(r.changed)
	r.changed = make(chan struct{})
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (r *receiver) takeLocked(m *collector.ExportTraceServiceRequest) {
	for _, group := range m.GetResourceSpans() {
		service := ""
		for _, a := range group.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range group.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				out := span{
					service: service, name: s.GetName(), trace: hex.EncodeToString(s.GetTraceId()), id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
					began: time.Unix(0, int64(s.GetStartTimeUnixNano())), ended: time.Unix(0, int64(s.GetEndTimeUnixNano())), failed: s.GetStatus().GetMessage(), attributes: make(map[string]string),
				}
				for _, a := range s.GetAttributes() {
					out.attributes[a.GetKey()] = a.GetValue().GetStringValue()
					if a.GetValue().GetBoolValue() {
						out.attributes[a.GetKey()] = "true"
					}
				}
				r.spans = append(r.spans, out)
			}
		}
	}
}

// all returns the spans so far.
func (r *receiver) all() []span {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]span(nil), r.spans...)
}

// wait waits until find finds what it looks for among the spans, and returns that.
func (r *receiver) wait(t *testing.T, what string, find func([]span) []span) []span {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		r.mu.Lock()
		got, changed, bad := append([]span(nil), r.spans...), r.changed, r.bad
		r.mu.Unlock()
		if len(bad) > 0 {
			t.Fatalf("the receiver cannot read: %q", bad)
		}
		if found := find(got); len(found) > 0 {
			return found
		}
		select {
		case <-changed:
		case <-deadline:
			for _, s := range got {
				t.Logf("%s %s %s %s<-%s %v", s.trace[:6], s.service, s.name, s.id, s.parent, s.attributes)
			}
			t.Fatalf("no %s within a minute", what)
		}
	}
}

// named are the spans of a name.
func named(all []span, name string) (out []span) {
	for _, s := range all {
		if s.name == name {
			out = append(out, s)
		}
	}
	return out
}
