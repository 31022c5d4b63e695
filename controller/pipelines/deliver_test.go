package pipelines

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// receiver is a URL: it refuses a request whose body has a text, and keeps the events of others.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	status   int    // answers each request; 0 is 202
	refuses  string // answers 400 to requests with it
	later    string // answers 503 to requests with it that it does not refuse
	requests int
	ids      []string // of the events that it took
	batches  []string // Edgekit-Event-Id of all requests
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	r.batches = append(r.batches, req.Header.Get(idHeader))
	switch {
	case err != nil:
		w.WriteHeader(http.StatusTeapot)
		return
	case r.status != 0:
		w.WriteHeader(r.status)
		return
	case r.later != "" && !bytes.Contains(body, []byte(r.refuses)) && bytes.Contains(body, []byte(r.later)):
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	case r.refuses != "" && bytes.Contains(body, []byte(r.refuses)):
		http.Error(w, "no such field", http.StatusBadRequest)
		return
	}
	if strings.HasPrefix(req.Header.Get("Content-Type"), "application/cloudevents+json") {
		body = append(append([]byte("["), body...), ']')
	}
	var list []struct{ ID string }
	if json.Unmarshal(body, &list) != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	for _, e := range list {
		r.ids = append(r.ids, e.ID)
	}
	w.WriteHeader(http.StatusAccepted)
}

// newDelivering makes a Controller that knows one Pipeline of edge-1 with a sink "up" to a URL.
func newDelivering(t *testing.T, url string) *Controller {
	t.Helper()
	p := &v1alpha1.Pipeline{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: "u", Generation: 1, ResourceVersion: "1"},
		Spec:       v1alpha1.PipelineSpec{NodeName: "edge-1", Sinks: []v1alpha1.Sink{{Name: "up", Cloud: &v1alpha1.CloudSink{URL: v1alpha1.URL(url)}}}},
	}
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		t.Fatal(err)
	}
	resource := v1alpha1.GroupVersion().WithResource(wire.Pipelines)
	nodes, err := cache.New(cache.Config[*corev1.Node]{ListWatch: &toolscache.ListWatch{}, Type: &corev1.Node{}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{
		Cloud: kubefake.NewClientset(), Nodes: nodes, ID: "cloudcore-1", LocalTargets: true,
		Dynamic: fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource: "PipelineList"}, &unstructured.Unstructured{Object: o}),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		if err := c.pipelines.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		work.Wait()
		c.targets.Close()
	})
	select {
	case <-c.Synced():
	case <-time.After(time.Minute):
		t.Fatal("the Pipeline is not known")
	}
	return c
}

// batchOf makes a batch of events with ids and data.
func batchOf(t *testing.T, packed bool, data ...string) *wire.Batch {
	t.Helper()
	var list []string
	for i, d := range data {
		list = append(list, fmt.Sprintf(`{"specversion":"1.0","id":"e%d","source":"s","type":"t","data":%q}`, i, d))
	}
	body := strings.Join(list, ",")
	if len(data) > 1 {
		body = "[" + body + "]"
	}
	b := &wire.Batch{Sink: "up", URL: "ignored", Events: len(data), Body: []byte(body)}
	if packed {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		if _, err := z.Write(b.Body); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		b.Encoding, b.Body = "gzip", out.Bytes()
	}
	return b
}

func (c *Controller) tryBatch(t *testing.T, b *wire.Batch, since time.Duration) error {
	t.Helper()
	return c.try(t.Context(), "edge-1", hub.Event{Source: "src", ID: 7, Key: keyOf(name), Body: b.Encode()}, time.Now().Add(-since))
}

// failuresOf are the reasons of the Pipeline's failures by deliveries, with the last event.
func (c *Controller) failuresOf() string {
	c.statuses.mu.Lock()
	defer c.statuses.mu.Unlock()
	var out []string
	if tally := c.statuses.tallies[name]; tally != nil {
		for _, f := range tally.deliveries {
			out = append(out, f.Step+" "+f.Reason+" "+f.Event)
		}
	}
	return strings.Join(out, ",")
}

// TestURLRefuses: events that the URL refuses are given up at once, and no others of their batch.
func TestURLRefuses(t *testing.T) {
	for _, packed := range []bool{false, true} {
		t.Run(fmt.Sprint("gzip=", packed), func(t *testing.T) {
			r := newReceiver(t)
			r.refuses = "bad"
			c := newDelivering(t, r.URL)
			if err := c.tryBatch(t, batchOf(t, packed, "a", "b", "bad", "c", "d", "bad", "e"), 0); err != nil {
				t.Fatal(err)
			}
			slices.Sort(r.ids)
			if got := strings.Join(r.ids, " "); got != "e0 e1 e3 e4 e6" {
				t.Errorf("the URL took %s", got)
			}
			slices.Sort(r.batches)
			if len(slices.Compact(slices.Clone(r.batches))) != len(r.batches) || !slices.Contains(r.batches, "src-7") || !slices.Contains(r.batches, "src-7-2-3") {
				t.Errorf("names of requests: %v", r.batches)
			}
			if got := c.failuresOf(); got != `up Refused {"id":"e5"}` {
				t.Error(got)
			}
			if s := c.Stats(); s.Delivered != 5 || s.Expired != 2 {
				t.Errorf("%+v", s)
			}
			before := r.requests
			if err := c.tryBatch(t, batchOf(t, packed, "bad"), 0); err != nil || r.requests != before+1 || c.Stats().Expired != 3 {
				t.Errorf("one event: %v after %d requests, %+v", err, r.requests-before, c.Stats())
			}
			wrong := batchOf(t, packed, "bad", "a", "b")
			wrong.Events = 3000 // as a hostile node says
			if err := c.tryBatch(t, wrong, 0); err != nil || r.requests != before+2 {
				t.Errorf("another count than there are events: %v after %d requests", err, r.requests-before)
			}
		})
	}
}

// TestURLRefusesOfMany: a batch that is too large for memory is read once, in parts, and each part is
// searched for the events that the URL refuses.
func TestURLRefusesOfMany(t *testing.T) {
	r := newReceiver(t)
	r.refuses = "bad"
	c := newDelivering(t, r.URL)
	data := make([]string, 200)
	for i := range data {
		data[i] = strings.Repeat("x", 4<<10)
	}
	data[3], data[150] = "bad", "bad"
	if err := c.tryBatch(t, batchOf(t, true, data...), 0); err != nil {
		t.Fatal(err)
	}
	if s := c.Stats(); s.Delivered != 198 || s.Expired != 2 || len(r.ids) != 198 || r.requests > 40 {
		t.Errorf("%+v, %d events, %d requests", s, len(r.ids), r.requests)
	}
	slices.Sort(r.ids)
	if len(slices.Compact(r.ids)) != 198 || slices.Contains(r.ids, "e3") || slices.Contains(r.ids, "e150") {
		t.Errorf("the URL took %v", r.ids)
	}
	if got := c.failuresOf(); got != `up Refused {"id":"e150"}` {
		t.Error(got)
	}
}

// TestURLTakesPart: events that the URL has taken are none of those that are given up.
func TestURLTakesPart(t *testing.T) {
	r := newReceiver(t)
	r.refuses, r.later = "bad", "later"
	c := newDelivering(t, r.URL)
	b := batchOf(t, false, "a", "b", "later", "bad")
	if err := c.tryBatch(t, b, 0); err == nil || c.failuresOf() != "up SinkRetrying " {
		t.Error(err, c.failuresOf())
	}
	if err := c.tryBatch(t, b, defaultRetry+time.Second); err != nil || c.failuresOf() != "up Expired " {
		t.Error(err, c.failuresOf())
	}
	if s := c.Stats(); s.Delivered != 2 || s.Expired != 2 {
		t.Errorf("%+v", s)
	}
}

// TestPartsAreSentOnce: while a part of a batch is tried again, the URL gets no event again that it took
// or that was given up, and the part has the same name.
func TestPartsAreSentOnce(t *testing.T) {
	pipelineName := name
	for name, data := range map[string][]string{
		"small": {"a", "bad", "b", "c", "d", "later", "bad", "e"},
		// In two windows of memory, the last of which is tried again.
		"large": {big("a"), "bad", big("b"), big("c"), big("d"), big("later"), "bad", big("e")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			r.refuses, r.later = "bad", "later"
			c := newDelivering(t, r.URL)
			b := batchOf(t, true, data...)
			if err := c.tryBatch(t, b, 0); err == nil {
				t.Fatal("the batch is done with")
			}
			if got := strings.Join(r.ids, " "); got != "e0 e2 e3" {
				t.Errorf("in the first try the URL took %s", got)
			}
			first := len(r.batches)
			if err := c.tryBatch(t, b, 0); err == nil || !slices.Equal(r.batches[first:], r.batches[first-2:first]) {
				t.Errorf("%v: the second try has the requests %v, want the last two of %v", err, r.batches[first:], r.batches[:first])
			}
			r.later = ""
			if err := c.tryBatch(t, b, 0); err != nil {
				t.Error(err)
			}
			if got := strings.Join(r.ids, " "); got != "e0 e2 e3 e4 e5 e7" {
				t.Errorf("the URL took %s", got)
			}
			if s := c.Stats(); s.Delivered != 6 || s.Expired != 2 || len(c.partials.all) != 0 {
				t.Errorf("%+v, and %d batches are remembered", s, len(c.partials.all))
			}
			// The next batch of the source is another one.
			r.refuses, r.ids = "", nil
			if err := c.try(t.Context(), "edge-1", hub.Event{Source: "src", ID: 8, Key: keyOf(pipelineName), Body: batchOf(t, true, "x", "y").Encode()}, time.Now()); err != nil || len(r.ids) != 2 {
				t.Errorf("the next batch: %v, %v", err, r.ids)
			}
		})
	}
}

// big is data that begins with a text; three of them are larger than a window.
func big(text string) string { return text + strings.Repeat(" ", maxWindow/2-1000) }

// TestPartialsAreBounded: what is remembered belongs to one batch of a source, and is bounded.
func TestPartialsAreBounded(t *testing.T) {
	var p partials
	for i := range maxPartials + 10 {
		p.keep(sourceKey{fmt.Sprint(i), "s"}, 7, 9, partial{done: 1})
	}
	if len(p.all) != maxPartials {
		t.Errorf("%d are remembered", len(p.all))
	}
	p.keep(sourceKey{"n", "s"}, 7, 9, partial{done: 5, taken: 4})
	for _, other := range []partial{p.load(sourceKey{"n", "s"}, 8, 9), p.load(sourceKey{"n", "s"}, 7, 10), p.load(sourceKey{"m", "s"}, 7, 9), p.load(sourceKey{"n", "r"}, 7, 9)} {
		if other != (partial{}) {
			t.Errorf("another batch has %+v", other)
		}
	}
	if got := p.load(sourceKey{"n", "s"}, 7, 9); got.done != 5 || got.taken != 4 {
		t.Errorf("%+v", got)
	}
	p.forget(sourceKey{"n", "s"})
	if got := p.load(sourceKey{"n", "s"}, 7, 9); got != (partial{}) {
		t.Errorf("after forget %+v", got)
	}
}

// TestURLStatuses: what passes, or is mended by an operator, is tried again until the time is over.
func TestURLStatuses(t *testing.T) {
	r := newReceiver(t)
	c := newDelivering(t, r.URL)
	for _, status := range []int{401, 403, 404, 405, 407, 408, 425, 429, 301, 500, 503} {
		r.status = status
		if err := c.tryBatch(t, batchOf(t, false, "a", "b"), 0); err == nil {
			t.Errorf("%d: the batch is done with", status)
		}
	}
	if got := c.failuresOf(); got != "up SinkRetrying " {
		t.Error(got)
	}
	r.status = 0
	if err := c.tryBatch(t, batchOf(t, false, "a", "b"), 0); err != nil || c.failuresOf() != "" || len(r.ids) != 2 {
		t.Errorf("%v, %s, %v", err, c.failuresOf(), r.ids)
	}
	r.status = 503
	if err := c.tryBatch(t, batchOf(t, false, "a", "b"), defaultRetry+time.Second); err != nil || c.failuresOf() != "up Expired " || c.Stats().Expired != 2 {
		t.Errorf("%v, %s, %+v", err, c.failuresOf(), c.Stats())
	}
	for _, status := range []int{400, 410, 413, 415, 422} {
		r.status = status
		if err := c.tryBatch(t, batchOf(t, false, "a"), 0); err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// TestBatchOfNobody: batches that nobody waits for, or that cannot be read, are dropped; one of a
// Pipeline that is not known here yet is not.
func TestBatchOfNobody(t *testing.T) {
	r := newReceiver(t)
	c := newDelivering(t, r.URL)
	good := batchOf(t, false, "a")
	send := func(node, pipeline string, body []byte) error {
		return c.try(t.Context(), node, hub.Event{Source: "src", ID: 1, Key: keyOf(cache.Name{Namespace: "plant", Name: pipeline}), Body: body}, time.Now())
	}
	for what, err := range map[string]error{
		"no batch":             send("edge-1", "p", []byte("x")),
		"another node":         send("edge-2", "p", good.Encode()),
		"an unknown pipeline":  send("edge-1", "q", good.Encode()),
		"an unknown sink":      send("edge-1", "p", (&wire.Batch{Sink: "down", Events: 1, Body: good.Body}).Encode()),
		"a batch that is torn": send("edge-1", "p", (&wire.Batch{Sink: "up", Events: 2, Encoding: "gzip", Body: batchOf(t, true, "a", "b").Body[:30]}).Encode()),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(r.ids) != 0 {
		t.Errorf("the URL took %v", r.ids)
	}
	late := &v1alpha1.Pipeline{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "late"}, Spec: v1alpha1.PipelineSpec{NodeName: "edge-1"},
	}
	o, err := runtime.DefaultUnstructuredConverter.ToUnstructured(late)
	if err != nil {
		t.Fatal(err)
	}
	client, ok := c.cfg.Dynamic.(*fake.FakeDynamicClient)
	if !ok {
		t.Fatal("no fake")
	}
	client.PrependReactor("get", wire.Pipelines, func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, &unstructured.Unstructured{Object: o}, nil
	})
	if err := send("edge-1", "late", good.Encode()); err == nil {
		t.Error("a batch of a Pipeline that the cache does not have yet is dropped")
	}
	if err := send("edge-3", "late", good.Encode()); err != nil {
		t.Errorf("of another node: %v", err)
	}
}

// TestElements: lists are read one element at a time, and an element that is too large is refused.
func TestElements(t *testing.T) {
	for text, want := range map[string]int{`[]`: 0, `[1]`: 1, ` [ {"a":[1,2]} , "x" ] `: 2, `{}`: -1, `[1,`: -1, ``: -1, `[1 2]`: -1, `["` + strings.Repeat("x", maxElement) + `"]`: -1} {
		s := &sending{batch: &wire.Batch{Body: []byte(text), Events: 10}}
		if got := s.count(); got != want {
			t.Errorf("%.20s: %d, want %d", text, got, want)
		}
	}
	p := part{events: []json.RawMessage{[]byte(`"a"`), []byte(`{"b":[1]}`)}}
	all, err := io.ReadAll(p.body())
	if err != nil || string(all) != `["a",{"b":[1]}]` {
		t.Errorf("%s, %v", all, err)
	}
}

// FuzzElements gives any text to what reads a node's batch.
func FuzzElements(f *testing.F) {
	for _, text := range []string{`[]`, `[1,{"id":"x"}]`, `[[[`, `{"a":1}`, `[1`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &sending{batch: &wire.Batch{Body: []byte(text), Events: wire.MaxEvents}}
		n := s.count()
		var p part
		for list := newElements(strings.NewReader(text)); ; {
			raw, err := list.next()
			if err != nil {
				break
			}
			brief(raw)
			p.events = append(p.events, raw)
		}
		if n >= 0 && n != len(p.events) {
			t.Errorf("%d events and %d", n, len(p.events))
		}
		if b, err := io.ReadAll(p.body()); err == nil && len(p.events) > 0 && !json.Valid(b) {
			t.Errorf("%q is no JSON", b)
		}
	})
}
