package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// reader reads a stream line by line.
type reader struct {
	t    *testing.T
	code int
	*bufio.Scanner
}

// open opens a stream; it ends with the test.
func (w *world) open(t *testing.T, server *httptest.Server, user, path string) *reader {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/console/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	as(user)(r)
	answer, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return &reader{t, answer.StatusCode, bufio.NewScanner(answer.Body)}
}

// next reads up to a line with the prefix and returns what follows it.
func (r *reader) next(prefix string) string {
	r.t.Helper()
	for r.Scan() {
		if text, ok := strings.CutPrefix(r.Text(), prefix); ok {
			return text
		}
	}
	r.t.Fatalf("the stream ended before %q: %v", prefix, r.Err())
	return ""
}

// served serves the world's console until the test ends.
func (w *world) served(t *testing.T) *httptest.Server {
	server := httptest.NewServer(w)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// TestStream: the summary comes at once and again when it has changed, with the nodes that did.
func TestStream(t *testing.T) {
	w := newWorld(t, console.Config{})
	server := w.served(t)
	s := w.open(t, server, "viewer", "stream?topics=summary,nodes")
	if s.next("event: "); !strings.Contains(s.next("data: "), `"nodes":{"total":3,"connected":1,`) {
		t.Errorf("first: %s", s.Text())
	}
	n := edgeNode("edge-3", "<b>\n\ndata: x", "True")
	n.Labels[corev1.LabelTopologyZone] = "<b>\u2028" // no API server takes it, which the console does not rely on
	if _, err := w.kube.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if name := s.next("event: "); name != "summary" || !strings.Contains(s.next("data: "), `"connected":2,`) || !strings.Contains(s.Text(), `\u003cb\u003e\u2028`) {
		t.Errorf("second: %s %s", name, s.Text())
	}
	var changed struct {
		Items []struct{ Name, State string }
		More  bool
	}
	if name := s.next("event: "); name != "nodes" || json.Unmarshal([]byte(s.next("data: ")), &changed) != nil || len(changed.Items) != 1 || changed.Items[0].State != "connected" || changed.More {
		t.Errorf("third: %s %s", name, s.Text())
	}
	if err := w.kube.CoreV1().Nodes().Delete(t.Context(), "edge-3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if s.next("event: "); !strings.Contains(s.next("data: "), `"total":2`) {
		t.Errorf("fourth: %s", s.Text())
	}
	if s.next("event: "); s.next("data: ") != `{"items":[],"more":true}` {
		t.Errorf("fifth: %s", s.Text())
	}
	for path, code := range map[string]int{"stream?topics=nodes": 403, "stream?topics=odd": 400, "stream": 400} {
		if s := w.open(t, server, "plant", path); s.code != code {
			t.Errorf("%s: %d", path, s.code)
		}
	}
	if s := w.open(t, server, "plant", "stream?topics=summary"); s.next("data: ") != `{"devices":{"total":2,"online":1}}` {
		t.Errorf("plant: %s", s.Text())
	}
}

// TestLive: the values of a device come as its node reports them, those that changed only.
func TestLive(t *testing.T) {
	w := newWorld(t, console.Config{})
	server := w.served(t)
	s := w.open(t, server, "plant", "devices/plant/boiler/live")
	put := func(device, status string) {
		w.live.Put(twins.Report{Namespace: "plant", Name: device, Status: []byte(status), Received: time.UnixMilli(1_700_000_000_123)})
	}
	s.next("retry: ")
	put("pump", `{"twins":[{"propertyName":"other","reported":{"value":"1"}}]}`)
	put("boiler", `not JSON`)
	hubtest.Until(t, "an event", func() bool {
		put("boiler", `{"twins":[{"propertyName":"t","reported":{"value":"21\n\ndata: <"}},{"propertyName":"d"}]}`)
		return s.Scan() && strings.HasPrefix(s.Text(), "data: ")
	})
	if s.Text() != `data: {"property":"t","value":"21\n\ndata: \u003c","time":"2023-11-14T22:13:20.123Z"}` {
		t.Error(s.Text())
	}
	put("boiler", `{"twins":[{"propertyName":"t","reported":{"value":"22","metadata":{"timestamp":"1700000000500"}}}]}`)
	if got := s.next("data: "); got != `{"property":"t","value":"22","time":"2023-11-14T22:13:20.500Z"}` {
		t.Error(got)
	}
	for path, code := range map[string]int{"devices/office/lamp/live": 403, "devices/plant/none/live": 404} {
		if s := w.open(t, server, "plant", path); s.code != code {
			t.Errorf("%s: %d", path, s.code)
		}
	}
}

// TestAttackStreams: one user has a sixteenth of all streams, and all have what there is.
func TestAttackStreams(t *testing.T) {
	w := newWorld(t, console.Config{MaxStreams: 32})
	server := w.served(t)
	for i, want := range []int{200, 200, 429} {
		if s := w.open(t, server, "viewer", "stream?topics=summary"); s.code != want {
			t.Errorf("stream %d: %d", i, s.code)
		}
	}
	if s := w.open(t, server, "plant", "stream?topics=summary"); s.code != http.StatusOK {
		t.Errorf("another user: %d", s.code)
	}
}
