package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func env() pipeline.Env {
	return pipeline.Env{Node: "edge-7", Ref: pipeline.Ref{Namespace: "plant", Name: "p"}, Logger: slog.New(slog.DiscardHandler)}
}

// engine takes what a source emits.
type engine struct {
	mu     sync.Mutex
	events []pipeline.Event
	hold   bool // safe is not called at once
	safe   []func()
	fail   error
}

func (e *engine) emit(_ context.Context, events []pipeline.Event, safe func()) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fail != nil {
		return e.fail
	}
	e.events = append(e.events, events...)
	if e.safe = append(e.safe, safe); !e.hold {
		e.releaseLocked()
	}
	return nil
}

func (e *engine) releaseLocked() {
	for _, f := range e.safe {
		if f != nil {
			f()
		}
	}
	e.safe = nil
}

func (e *engine) set(hold bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.hold = hold; !hold {
		e.releaseLocked()
	}
}

// texts gives the data of the events so far, and forgets them.
func (e *engine) texts() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.events {
		out = append(out, string(one.Data.([]byte)))
	}
	e.events = nil
	return out
}

// begin runs a source until stop, which returns Run's error.
func begin(t testing.TB, s pipeline.Source, e *engine) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, e.emit) }()
	return sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
}

func TestSpecsAreChecked(t *testing.T) {
	withFiles := env()
	withFiles.Files = t.TempDir()
	withFiles.Broker = new(pipelinetest.Broker)
	for part, spec := range map[string]*v1alpha1.Source{
		"it has no kind":  {},
		"mqtt.topic":      {MQTT: &v1alpha1.MQTTSource{Topic: "a/#/b"}},
		"twin: this":      {Twin: &v1alpha1.TwinSource{}},
		"http: this":      {HTTP: &v1alpha1.HTTPSource{}},
		"containerLogs":   {ContainerLogs: &v1alpha1.ContainerLogsSource{}},
		"file.from":       {File: &v1alpha1.FileSource{Path: "x", From: "middle"}},
		`file.path is "/`: {File: &v1alpha1.FileSource{Path: "/etc/passwd"}},
		`file.path is ".`: {File: &v1alpha1.FileSource{Path: "../x"}},
	} {
		spec.Name = "in"
		if _, err := Open(spec, withFiles); err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "source in") {
			t.Errorf("%s: %v", part, err)
		}
	}
	for _, spec := range []*v1alpha1.Source{{MQTT: &v1alpha1.MQTTSource{Topic: "x"}}, {File: &v1alpha1.FileSource{Path: "x"}}} {
		if _, err := Open(spec, env()); err == nil {
			t.Errorf("%+v was taken", spec)
		}
	}
	for _, address := range []string{"0.0.0.0:80", ":80", "127.0.0.1", "example.com:80"} {
		if _, err := NewHTTP(HTTPConfig{Address: address}); err == nil {
			t.Errorf("%s was taken", address)
		}
	}
}

func TestMQTT(t *testing.T) {
	env, broker := env(), new(pipelinetest.Broker)
	env.Broker = broker
	s, err := Open(&v1alpha1.Source{Name: "temps", MQTT: &v1alpha1.MQTTSource{Topic: "plant/+/temp"}}, env)
	if err != nil {
		t.Fatal(err)
	}
	e := &engine{hold: true}
	stop := begin(t, s, e)
	publish := func(m bus.Message) {
		for broker.Acks() < 100 { // until it is consumed
			before := len(broker.Published())
			if err := broker.Publish(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			e.mu.Lock()
			n := len(e.events)
			e.mu.Unlock()
			if n > 0 || before > 100_000 {
				return
			}
		}
	}
	publish(bus.Message{Topic: "plant/d1/temp", Payload: []byte("1"), ContentType: "text/plain"})
	for _, m := range []bus.Message{
		{Topic: "plant/d1/other"}, {Topic: "plant/d2/temp", Payload: []byte("2"), Properties: []bus.Property{{Key: "event_id", Value: "e-2"}}}, {Topic: "plant/d2/temp"},
	} {
		if err := broker.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	n := len(e.events)
	if n < 3 || broker.Acks() != 0 {
		t.Fatalf("%d events, %d acknowledged", n, broker.Acks())
	}
	one, two := e.events[0], e.events[n-2]
	if one.Source != "/edge-7/plant/p/temps" || one.Subject != "plant/d1/temp" || one.Type != TypeMQTT || one.Extensions["contenttype"] != "text/plain" || string(one.Data.([]byte)) != "1" || one.Resend {
		t.Errorf("%+v", one)
	}
	if two.ID != "e-2" || !two.Resend || one.ID == e.events[n-1].ID {
		t.Errorf("%+v", two)
	}
	e.set(false)
	if broker.Acks() != n {
		t.Errorf("%d of %d were acknowledged", broker.Acks(), n)
	}
}

func TestTwin(t *testing.T) {
	env, twins := env(), new(pipelinetest.Twins)
	env.Twins = twins
	s, err := Open(&v1alpha1.Source{Name: "t", Twin: &v1alpha1.TwinSource{}}, env)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(5, 0).UTC()
	twins.Report(pipeline.TwinValue{Device: "d1", Property: "temp", Value: 21.5, Time: at, Version: "7"})
	e := new(engine)
	seen := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Run(ctx, func(ctx context.Context, events []pipeline.Event, safe func()) error {
			defer func() { seen <- struct{}{} }()
			return e.emit(ctx, events, safe)
		})
	}()
	<-seen
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	one := e.events[0]
	if one.ID != "d1/temp@7" || !one.Resend || !one.Time.Equal(at) || one.Subject != "d1/temp" || fmt.Sprint(one.Data) != "map[device:d1 property:temp value:21.5]" {
		t.Errorf("%+v", one)
	}
}

// post posts to a source and returns status and answer.
func post(t testing.TB, h http.Handler, path, body string, header ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:9062"+path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestHTTPSource(t *testing.T) {
	web, err := NewHTTP(HTTPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	env := env()
	env.HTTP = web
	spec := &v1alpha1.Source{Name: "in", HTTP: &v1alpha1.HTTPSource{Path: "/in"}}
	s, err := Open(spec, env)
	if err != nil {
		t.Fatal(err)
	}
	e := new(engine)
	running := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { running <- s.Run(ctx, e.emit) }()
	for { // until the path is served
		if code, _ := post(t, web, "/in", "{}"); code != http.StatusNotFound {
			break
		}
	}
	e.texts()
	packed, _ := compress.Encode(compress.Zstd, []byte("packed"))
	bomb, _ := compress.Encode(compress.Gzip, make([]byte, 2<<20))
	for name, test := range map[string]struct {
		path, body string
		header     []string
		code       int
		events     string
	}{
		"plain":       {"/in", `{"a":1}`, []string{"Content-Type", "application/json"}, 204, `[{"a":1}]`},
		"zstd":        {"/in", string(packed), []string{"Content-Encoding", "zstd"}, 204, "[packed]"},
		"bomb":        {"/in", string(bomb), []string{"Content-Encoding", "gzip"}, 413, "[]"},
		"no gzip":     {"/in", "x", []string{"Content-Encoding", "gzip"}, 400, "[]"},
		"encoding":    {"/in", "x", []string{"Content-Encoding", "br"}, 415, "[]"},
		"too large":   {"/in", strings.Repeat("x", pipeline.MaxEvent+1), nil, 413, "[]"},
		"other path":  {"/out", "x", nil, 404, "[]"},
		"web page":    {"/in", "x", []string{"Origin", "http://evil.example"}, 403, "[]"},
		"rebinding":   {"/in", "x", []string{"Host", "evil.example"}, 403, "[]"},
		"bad event":   {"/in", `{"id":1}`, []string{"Content-Type", "application/cloudevents+json"}, 400, "[]"},
		"binary mode": {"/in", "x", []string{"Ce-Id", "1", "Ce-Source", "/s", "Ce-Type", "t", "Ce-Specversion", "1.0", "Content-Type", "application/octet-stream"}, 204, "[x]"},
	} {
		code, text := post(t, web, test.path, test.body, test.header...)
		if got := fmt.Sprint(e.texts()); code != test.code || got != test.events {
			t.Errorf("%s: %d %s, events %s", name, code, text, got)
		}
	}
	code, text := post(t, web, "/in", `[{"specversion":"1.0","id":"7","source":"/s","type":"t","data":{"a":1}}]`, "Content-Type", "application/cloudevents-batch+json")
	if code != 204 || len(e.events) != 1 || e.events[0].ID != "7" || !e.events[0].Resend || e.events[0].Time.IsZero() {
		t.Errorf("%d %s %+v", code, text, e.events)
	}
	r := httptest.NewRequest(http.MethodGet, "http://localhost/in", nil)
	w := httptest.NewRecorder()
	if web.ServeHTTP(w, r); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", w.Code)
	}
	if _, err := web.Handle("/in", nil); err == nil {
		t.Error("a path is served twice")
	}
	e.fail = errors.New("full")
	if code, _ := post(t, web, "/in", "x"); code != http.StatusServiceUnavailable {
		t.Errorf("not safe: %d", code)
	}
	cancel()
	if err := <-running; err != nil {
		t.Error(err)
	}
	if code, _ := post(t, web, "/in", "x"); code != http.StatusNotFound {
		t.Errorf("after the end: %d", code)
	}
}

// TestHTTPPort has a program on the node send over a real connection.
func TestHTTPPort(t *testing.T) {
	web, err := NewHTTP(HTTPConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- web.Run(ctx) }()
	if _, err := web.Handle("/x", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })); err != nil {
		t.Fatal(err)
	}
	for web.Addr() == nil {
		if t.Context().Err() != nil {
			t.Fatal("it does not listen")
		}
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Post("http://"+web.Addr().String()+"/x", "text/plain", bytes.NewReader([]byte("hello")))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if b, err := io.ReadAll(answer.Body); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if err := web.Run(t.Context()); !errors.Is(err, bus.ErrStarted) {
		t.Error(err)
	}
}
