package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline/host"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

const patience = 30 * time.Second

// reports is a Reporter: what the node says now, by key.
type reports struct {
	mu      sync.Mutex
	now     map[string]*wire.Report
	deleted map[string]int
	changed chan struct{}
}

func (r *reports) Update(_ context.Context, o meta.Object) error {
	report, err := wire.DecodeReport(o.Body)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now[o.Key.String()] = report
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

func (r *reports) Delete(_ context.Context, o meta.Object) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.now, o.Key.String())
	r.deleted[o.Key.String()]++
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// until waits until check is content.
func (r *reports) until(t *testing.T, what string, check func(now map[string]*wire.Report, deleted map[string]int) bool) {
	t.Helper()
	limit := time.After(patience)
	for {
		r.mu.Lock()
		ok, changed := check(r.now, r.deleted), r.changed
		text, _ := json.Marshal(r.now)
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("%s: the node says %s", what, text)
		}
	}
}

// node is a store with a Host on it.
type node struct {
	store   meta.Store
	folder  string
	program string
	reports *reports
	ended   chan string // sessions
	cfg     func(*host.Config)
}

// newNode makes a node whose edgepipe is a script.
func newNode(t *testing.T, script string) *node {
	t.Helper()
	folder, err := os.MkdirTemp("", "ph") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New()
	t.Cleanup(func() {
		store.Close()
		os.RemoveAll(folder)
	})
	n := &node{
		store: store, folder: folder, program: filepath.Join(folder, "edgepipe"), ended: make(chan string, 10),
		reports: &reports{now: make(map[string]*wire.Report), deleted: make(map[string]int), changed: make(chan struct{})},
	}
	if script != "" {
		if err := os.WriteFile(n.program, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// lives is an edgepipe that lives until edgecore ends it.
const lives = "exec cat"

// run runs a Host until the test ends.
func (n *node) run(t *testing.T) (h *host.Host, stop func()) {
	t.Helper()
	cfg := host.Config{
		Store: n.store, Reporter: n.reports, Node: "edge-7", Folder: n.folder, Program: n.program, StatusEvery: time.Millisecond, MaxBatches: 2,
		MQTT:       wire.MQTT{URL: "unix:///mqtt.sock", Session: "edgepipe/edge-7/"},
		EndSession: func(_ context.Context, id string) error { n.ended <- id; return nil },
	}
	if n.cfg != nil {
		n.cfg(&cfg)
	}
	h, err := host.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return h, stop
}

func key(name string) meta.Key {
	return meta.Key{Resource: wire.Pipelines, Namespace: "plant", Name: name}
}

func (n *node) put(t *testing.T, k meta.Key, body string) {
	t.Helper()
	if _, err := n.store.Apply(t.Context(), meta.Op{Key: meta.Down + k.Path(), Value: meta.EncodeObject(meta.Object{Key: k, Version: "1", Body: []byte(body), Stored: time.Now()})}); err != nil {
		t.Fatal(err)
	}
}

func (n *node) remove(t *testing.T, k meta.Key) {
	t.Helper()
	if _, err := n.store.Apply(t.Context(), meta.Op{Key: meta.Down + k.Path(), Delete: true}); err != nil {
		t.Fatal(err)
	}
}

func pipelineText(name string) string {
	return fmt.Sprintf(`{"metadata":{"namespace":"plant","name":%q,"uid":"u-%s","generation":3},"spec":{"sources":[{"name":"in","mqtt":{"topic":"a/+"}}]}}`, name, name)
}

// client is a client of the Host's socket.
func (n *node) client(t *testing.T) *http.Client {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			conn, err := (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(n.folder, wire.HostSocket))
			if err == nil {
				return conn, nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, err
			}
		}
	}}}
	return c
}

func post(t *testing.T, c *http.Client, path, body string) (status int) {
	t.Helper()
	resp, err := c.Post("http://h"+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(path, resp.Status, string(bytes.TrimSpace(text)))
	return resp.StatusCode
}

// TestPipelines: edgepipe gets the Pipelines with what they name, also those that come later, and
// the node reports what it says; without Pipelines there is neither program nor socket.
func TestPipelines(t *testing.T) {
	n := newNode(t, lives)
	h, _ := n.run(t)
	n.put(t, key("a"), pipelineText("a"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://h"+wire.PathPipelines, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := n.client(t)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sets := json.NewDecoder(resp.Body)
	next := func() (s wire.Set) {
		if err := sets.Decode(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := next(); s.Node != "edge-7" || len(s.Pipelines) != 1 || !strings.Contains(string(s.Pipelines[0]), "u-a") || s.MQTT.Session != "edgepipe/edge-7/" {
		t.Errorf("%+v", s)
	}
	n.put(t, meta.Key{Resource: wire.Inputs, Namespace: "plant", Name: wire.InputName(wire.Secret, "s")}, `{"data":{"password":"c2VjcmV0"}}`)
	n.put(t, key("b"), pipelineText("b"))
	n.put(t, key("broken"), `{`)
	s := next()
	for len(s.Pipelines) != 2 || len(s.Inputs) != 1 {
		s = next()
	}
	if in := s.Inputs[0]; in.Kind != wire.Secret || in.Name != "s" || string(in.Data["password"]) != "secret" {
		t.Errorf("%+v", in)
	}
	body := `{"statuses":[{"namespace":"plant","name":"a","uid":"u-a","generation":3,"state":"Running","failures":[{"step":"x","reason":"SinkFailed","message":"no\u001b[0m"}]},{"namespace":"plant","name":"none","state":"Running"}]}`
	if status := post(t, c, wire.PathStatus, body); status != http.StatusNoContent {
		t.Error(status)
	}
	n.reports.until(t, "it runs", func(now map[string]*wire.Report, _ map[string]int) bool {
		r := now["pipelines/status/plant/a"]
		return r != nil && r.State == wire.Running && r.Generation == 3 && len(r.Failures) == 1 && r.Failures[0].Message == "no?[0m"
	})
	if _, none := n.reports.now["pipelines/status/plant/none"]; none {
		t.Error("a Pipeline that there is not is reported")
	}
	if status := post(t, c, wire.PathStatus, "{"); status != http.StatusBadRequest {
		t.Error(status)
	}
	n.remove(t, key("a"))
	n.reports.until(t, "a is removed", func(_ map[string]*wire.Report, deleted map[string]int) bool {
		return deleted["pipelines/status/plant/a"] > 0
	})
	n.remove(t, key("b"))
	n.reports.until(t, "b is removed", func(_ map[string]*wire.Report, deleted map[string]int) bool {
		return deleted["pipelines/status/plant/b"] > 0
	})
	if _, err := io.Copy(io.Discard, resp.Body); ctx.Err() != nil {
		t.Error("the socket is served without Pipelines", err)
	}
	if s := h.Stats(); s.Running && s.Pipelines > 0 {
		t.Errorf("%+v", s)
	}
}

// TestEvents: events are durable when edgepipe has its answer; when enough wait, it keeps the
// others.
func TestEvents(t *testing.T) {
	n := newNode(t, lives)
	n.put(t, key("a"), pipelineText("a"))
	h, _ := n.run(t)
	c := n.client(t)
	path := wire.PathEvents + "?namespace=plant&name=a&sink=up&url=http://x&events=2"
	for i, want := range []int{204, 204, 503} {
		if status := post(t, c, path, "[1,2]"); status != want {
			t.Errorf("batch %d: %d", i, status)
		}
	}
	if status := post(t, c, strings.Replace(path, "sink=up", "sink=other", 1), "[1,2]"); status != 204 {
		t.Errorf("a full sink holds up another: %d", status)
	}
	for what, bad := range map[string]string{
		"no such pipeline": strings.Replace(path, "name=a", "name=b", 1), "no sink": strings.Replace(path, "sink=up", "sink=", 1), "no events": strings.Replace(path, "events=2", "events=0", 1),
	} {
		if status := post(t, c, bad, "[]"); status != 400 && status != 404 {
			t.Errorf("%s: %d", what, status)
		}
	}
	if status := post(t, c, path, strings.Repeat("x", wire.MaxBody+1)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("too large: %d", status)
	}
	out := h.Outbox()
	sources, err := out.Sources(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	acked := 0
	for source := range sources {
		e, err := out.Next(t.Context(), source, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := wire.DecodeBatch(e.Body)
		if err != nil || e.Key.Resource != wire.Events || e.Key.Name != "a" || b.Events != 2 || string(b.Body) != "[1,2]" {
			t.Errorf("%+v, %+v, %v", e.Key, b, err)
		}
		if b.Sink == "up" {
			if err := out.Acked(t.Context(), source, e.ID); err != nil {
				t.Fatal(err)
			}
			acked++
		}
	}
	if status := post(t, c, path, "[1,2]"); acked != 1 || status != 204 {
		t.Errorf("after %d acknowledgements: %d", acked, status)
	}
	if s := h.Stats(); s.Batches != 4 || s.Refused != 1 || s.Waiting != 3 {
		t.Errorf("%+v", s)
	}
}

// TestProgramFails: without the program, or while it crashes, the status of each Pipeline says so.
func TestProgramFails(t *testing.T) {
	for script, want := range map[string]string{"": host.ReasonNoProgram, "echo no >&2; exit 3": host.ReasonCrashing} {
		t.Run(want, func(t *testing.T) {
			n := newNode(t, script)
			n.put(t, key("a"), pipelineText("a"))
			n.run(t)
			n.reports.until(t, want, func(now map[string]*wire.Report, _ map[string]int) bool {
				r := now["pipelines/status/plant/a"]
				return r != nil && r.State == wire.Failed && r.UID == "u-a" && len(r.Failures) == 1 && r.Failures[0].Reason == want && strings.Contains(r.Failures[0].Message, n.program)
			})
		})
	}
}

// TestTooMany: a node runs so many Pipelines, and says of the others that it does not.
func TestTooMany(t *testing.T) {
	n := newNode(t, lives)
	for i := range host.MaxPipelines + 1 {
		name := fmt.Sprintf("p%03d", i)
		n.put(t, key(name), pipelineText(name))
	}
	n.run(t)
	n.reports.until(t, "the last one does not run", func(now map[string]*wire.Report, _ map[string]int) bool {
		r := now[fmt.Sprintf("pipelines/status/plant/p%03d", host.MaxPipelines)]
		return r != nil && r.State == wire.Failed && r.Failures[0].Reason == host.ReasonTooMany
	})
}

// TestRemovedWhileAway: what went while edgecore did not run is cleaned up at the next start.
func TestRemovedWhileAway(t *testing.T) {
	n := newNode(t, lives)
	n.put(t, key("a"), pipelineText("a"))
	_, stop := n.run(t)
	// The session is recorded at the start.
	tick, limit := time.NewTicker(5*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		keys, _, err := n.store.Keys(t.Context(), meta.Local+"pipelines/session/")
		if err != nil {
			t.Fatal(err)
		}
		if len(keys) == 1 {
			break
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("the session is not recorded")
		}
	}
	stop()
	n.remove(t, key("a"))
	up := meta.Key{Resource: wire.Reports, Namespace: "plant", Name: "a"}
	if _, err := n.store.Apply(t.Context(), meta.Op{Key: meta.Up + up.Path(), Value: meta.EncodeObject(meta.Object{Key: up, Body: []byte("{}"), Stored: time.Now()})}); err != nil {
		t.Fatal(err)
	}
	n.run(t)
	select {
	case id := <-n.ended:
		if want := wire.SessionID("edgepipe/edge-7/", "plant/a/in", "a/+"); id != want {
			t.Errorf("session %s was ended, want %s", id, want)
		}
	case <-time.After(patience):
		t.Error("the session was not ended")
	}
	n.reports.until(t, "the report is removed", func(_ map[string]*wire.Report, deleted map[string]int) bool {
		return deleted["pipelines/status/plant/a"] == 1
	})
}

// TestConfig: wrong settings are refused, and a second Run too.
func TestConfig(t *testing.T) {
	n := newNode(t, lives)
	for what, change := range map[string]func(*host.Config){
		"no store": func(c *host.Config) { c.Store = nil }, "relative program": func(c *host.Config) { c.Program = "edgepipe" }, "negative": func(c *host.Config) { c.MaxBatches = -1 },
	} {
		cfg := host.Config{Store: n.store, Reporter: n.reports, Node: "n", Folder: n.folder, Program: n.program}
		change(&cfg)
		if _, err := host.New(cfg); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	h, stop := n.run(t)
	stop()
	if err := h.Run(t.Context()); !errors.Is(err, bus.ErrStarted) {
		t.Errorf("the second Run: %v", err)
	}
}
