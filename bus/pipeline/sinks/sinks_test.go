package sinks

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func event(n int) pipeline.Event {
	return pipeline.Event{
		ID: fmt.Sprint("e-", n), Source: "edge-7/temps", Type: "reading", Subject: "d1", Time: start.Add(time.Duration(n) * time.Second),
		Data: map[string]any{"value": float64(n), "name": "a b"},
	}
}

func events(n int) (out []pipeline.Event) {
	for i := range n {
		out = append(out, event(i))
	}
	return out
}

func env() pipeline.Env {
	return pipeline.Env{
		Node: "edge-7", Ref: pipeline.Ref{Namespace: "plant", Name: "p"}, Expressions: pipelinetest.Expressions{}, Logger: slog.New(slog.DiscardHandler),
		Secret: func(_ context.Context, namespace, name string) (map[string][]byte, error) {
			if namespace != "plant" || name != "login" {
				return nil, errors.New("there is no such Secret")
			}
			return map[string][]byte{"username": []byte("u"), "password": []byte("sesame")}, nil
		},
	}
}

func open(t *testing.T, spec *v1alpha1.Sink, env pipeline.Env) pipeline.Sink {
	t.Helper()
	if spec.Name == "" {
		spec.Name = "up"
	}
	s, err := Open(spec, env)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestSpecsAreChecked(t *testing.T) {
	for part, spec := range map[string]*v1alpha1.Sink{
		"need a program with bus/pipeline/extra":      {NATS: &v1alpha1.NATSSink{}},
		"parquet":                                     {File: &v1alpha1.FileSink{Path: "x", Format: "parquet"}},
		"cloud: this program has no link":             {Cloud: &v1alpha1.CloudSink{}},
		"twin: this program has no twins":             {Twin: &v1alpha1.TwinSink{}},
		"mqtt: this program has no broker":            {MQTT: &v1alpha1.MQTTSink{}},
		"http.url":                                    {HTTP: &v1alpha1.HTTPSink{URL: "x"}},
		"http.headers: Authorization is a credential": {HTTP: &v1alpha1.HTTPSink{URL: "http://h", Headers: map[string]v1alpha1.Text{"authorization": "x"}}},
		"http.format":                                 {HTTP: &v1alpha1.HTTPSink{URL: "http://h", Format: "xml"}},
		"precision=ms":                                {Influx: &v1alpha1.InfluxSink{URL: "http://h?precision=ms"}},
		"influx.fields is empty":                      {Influx: &v1alpha1.InfluxSink{URL: "http://h", Measurement: "m"}},
		"influx.tags has \"time\"":                    {Influx: &v1alpha1.InfluxSink{URL: "http://h", Measurement: "m", Tags: map[string]v1alpha1.Expression{"time": "1"}}},
		"file: this program allows no files":          {File: &v1alpha1.FileSink{Path: "x"}},
		"batch.compression":                           {HTTP: &v1alpha1.HTTPSink{URL: "http://h"}, Batch: &v1alpha1.BatchSpec{Compression: "lz4"}},
	} {
		spec.Name = "up"
		if _, err := Open(spec, env()); err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), "sink up") {
			t.Errorf("%s: %v", part, err)
		}
	}
	withFiles := env()
	withFiles.Files = t.TempDir()
	for _, path := range []string{"", "..", "../x", "/etc/passwd", "a/../../x", "a/", ".", "a\x00b"} {
		if _, err := Open(&v1alpha1.Sink{File: &v1alpha1.FileSink{Path: path}}, withFiles); err == nil || !strings.Contains(err.Error(), "file.path") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestCloud(t *testing.T) {
	e, cloud := env(), new(pipelinetest.Cloud)
	e.Cloud = cloud
	s := open(t, &v1alpha1.Sink{Cloud: &v1alpha1.CloudSink{URL: "https://h/x"}}, e)
	cloud.Fail(errors.New("away"))
	if err := s.Send(t.Context(), events(2)); err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Error(err)
	}
	cloud.Fail(nil)
	if err := s.Send(t.Context(), events(2)); err != nil || len(cloud.Sent("https://h/x")) != 2 {
		t.Error(err, cloud.Sent("https://h/x"))
	}
}

func TestTwin(t *testing.T) {
	e, twins := env(), new(pipelinetest.Twins)
	e.Twins = twins
	s := open(t, &v1alpha1.Sink{Twin: &v1alpha1.TwinSink{Device: "event.subject", Property: "limit", Value: "event.data.value * 2"}}, e)
	if err := s.Send(t.Context(), []pipeline.Event{event(4)}); err != nil {
		t.Error(err)
	}
	if v, ok := twins.Desired("d1", "limit"); !ok || v != 8.0 {
		t.Error(v, ok)
	}
	bad := events(3)
	bad[1].Data = "no object"
	wantRefused(t, s.Send(t.Context(), bad), 1)
	bad[0].Subject = ""
	wantRefused(t, s.Send(t.Context(), bad), 0)
	twins.Fail(errors.New("away"))
	if err := s.Send(t.Context(), events(1)); err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Error(err)
	}
}

func wantRefused(t *testing.T, err error, index int) {
	t.Helper()
	one, ok := errors.AsType[*pipeline.RefusedError](err)
	if !ok || one.Index != index || !errors.Is(err, pipeline.ErrRefused) {
		t.Errorf("%v, want event %d refused", err, index)
	}
}

func TestMQTT(t *testing.T) {
	e, broker := env(), new(pipelinetest.Broker)
	e.Broker = broker
	s := open(t, &v1alpha1.Sink{MQTT: &v1alpha1.MQTTSink{Topic: "out/{event.subject}/x"}}, e)
	list := events(2)
	list[1].Resend = true
	if err := s.Send(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	m := broker.Published()
	if len(m) != 2 || m[0].Topic != "out/d1/x" || m[0].QoS != bus.AtLeastOnce || string(m[1].Payload) != `{"name":"a b","value":1}` ||
		m[1].Property("event_id") != "e-1" || m[1].Property("resend") != "true" || m[0].Property("resend") != "" || m[0].ContentType != "application/json" {
		t.Errorf("%+v", m)
	}
	for topic, index := range map[string]int{"$hw/events/device/x": 1, "": 1, "a/+": 1, "a\x00": 1} {
		bad := events(3)
		bad[1].Subject = topic
		s := open(t, &v1alpha1.Sink{MQTT: &v1alpha1.MQTTSink{Topic: "{event.subject}"}}, e)
		wantRefused(t, s.Send(t.Context(), bad), index)
	}
	e.Upstream = []*v1alpha1.Source{{Name: "in", MQTT: &v1alpha1.MQTTSource{Topic: "$share/g/plant/+"}}, {Name: "other", HTTP: &v1alpha1.HTTPSource{}}}
	loop := events(3)
	loop[1].Subject = "plant/back" // where the event came from
	wantRefused(t, open(t, &v1alpha1.Sink{MQTT: &v1alpha1.MQTTSink{Topic: "{event.subject}"}}, e).Send(t.Context(), loop), 1)
	e.Upstream = nil
	bad := events(2)
	bad[1].Data = math.NaN()
	wantRefused(t, s.Send(t.Context(), bad), 1)
	broker.Fail(errors.New("away"))
	if err := s.Send(t.Context(), events(1)); err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Error(err)
	}
	one := int32(2)
	if _, err := Open(&v1alpha1.Sink{MQTT: &v1alpha1.MQTTSink{Topic: "x", QoS: &one}}, e); err == nil {
		t.Error("QoS 2 was taken")
	}
}

// receiver is a server that keeps what it gets and answers with a status.
type receiver struct {
	*httptest.Server
	bodies []string
	header http.Header
	status int
}

func receive(t *testing.T) *receiver {
	r := &receiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var body io.Reader = req.Body
		switch req.Header.Get("Content-Encoding") {
		case "gzip":
			body, _ = gzip.NewReader(body)
		case "zstd":
			d, _ := zstd.NewReader(body)
			defer d.Close()
			body = d
		}
		b, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		r.bodies, r.header = append(r.bodies, string(b)), req.Header
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

func TestHTTP(t *testing.T) {
	for _, kind := range []string{"", "none", "gzip", "zstd"} {
		r := receive(t)
		s := open(t, &v1alpha1.Sink{
			HTTP: &v1alpha1.HTTPSink{URL: v1alpha1.URL(r.URL + "/in?x=y"), Headers: map[string]v1alpha1.Text{"X-Site": "a"}}, Batch: &v1alpha1.BatchSpec{Compression: kind},
			SecretRef: &v1alpha1.SecretRef{Name: "login"},
		}, env())
		if err := s.Send(t.Context(), events(2)); err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		if err := json.Unmarshal([]byte(r.bodies[0]), &got); err != nil {
			t.Fatal(err)
		}
		if len(got) != 2 || got[1]["id"] != "e-1" || got[1]["specversion"] != "1.0" || got[1]["time"] != "2026-01-02T03:04:06.000006Z" || fmt.Sprint(got[1]["data"]) != "map[name:a b value:1]" {
			t.Errorf("%v", got)
		}
		user, password, _ := (&http.Request{Header: r.header}).BasicAuth()
		if user != "u" || password != "sesame" || r.header.Get("X-Site") != "a" || !strings.HasPrefix(r.header.Get("Content-Type"), "application/cloudevents-batch+json") {
			t.Errorf("%v", r.header)
		}
		bad := events(3)
		bad[2].Data = math.Inf(1)
		wantRefused(t, s.Send(t.Context(), bad), 2)
		if len(r.bodies) != 2 || !strings.Contains(r.bodies[1], "e-1") {
			t.Errorf("%q: what came before the event that is refused was not sent", r.bodies)
		}
		r.status = http.StatusServiceUnavailable
		if err := s.Send(t.Context(), events(1)); err == nil || errors.Is(err, pipeline.ErrRefused) || strings.Contains(err.Error(), "sesame") {
			t.Error(err)
		}
		r.status = http.StatusBadRequest
		if err := s.Send(t.Context(), events(1)); !errors.Is(err, pipeline.ErrRefused) {
			t.Error(err)
		}
	}
	r := receive(t)
	s := open(t, &v1alpha1.Sink{HTTP: &v1alpha1.HTTPSink{URL: v1alpha1.URL(r.URL), Format: "lines"}}, env())
	if err := s.Send(t.Context(), events(2)); err != nil || r.bodies[0] != "{\"name\":\"a b\",\"value\":0}\n{\"name\":\"a b\",\"value\":1}\n" {
		t.Error(err, r.bodies)
	}
	r.Close()
	if err := s.Send(t.Context(), events(1)); err == nil || errors.Is(err, pipeline.ErrRefused) {
		t.Error(err)
	}
	s = open(t, &v1alpha1.Sink{HTTP: &v1alpha1.HTTPSink{URL: "http://169.254.169.254/latest?token=sesame"}}, env())
	if err := s.Send(t.Context(), events(1)); err == nil || !strings.Contains(err.Error(), "may not connect") || strings.Contains(err.Error(), "sesame") {
		t.Error(err)
	}
	s = open(t, &v1alpha1.Sink{HTTP: &v1alpha1.HTTPSink{URL: v1alpha1.URL(r.URL)}, SecretRef: &v1alpha1.SecretRef{Name: "none"}}, env())
	if err := s.Send(t.Context(), events(1)); err == nil || !strings.Contains(err.Error(), "secretRef") {
		t.Error(err)
	}
}

// TestHanging: a receiver that takes the request and never answers is given up when the
// context ends.
func TestHanging(t *testing.T) {
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-gone:
		}
	}))
	defer server.Close()
	defer close(gone)
	s := open(t, &v1alpha1.Sink{HTTP: &v1alpha1.HTTPSink{URL: v1alpha1.URL(server.URL)}}, env())
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.Send(ctx, events(1)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestInflux(t *testing.T) {
	r := receive(t)
	s := open(t, &v1alpha1.Sink{Influx: &v1alpha1.InfluxSink{
		URL: v1alpha1.URL(r.URL + "/api/v2/write?org=o&bucket=b&precision=ns"), Measurement: "tem p,{event.type}",
		Tags:   map[string]v1alpha1.Expression{"device": "event.subject", "a,b": `"x=y"`},
		Fields: map[string]v1alpha1.Expression{"value": "event.data.value", "text": "event.data.text", "none": "null", "on": "true"},
	}}, env())
	list := events(2)
	list[0].Data = map[string]any{"value": int64(7), "text": `say "hi" \ now`}
	list[1].Data = map[string]any{"value": uint64(math.MaxUint64), "text": "line\nbreak"}
	list[1].Subject = ""
	if err := s.Send(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	want := `tem\ p\,reading,a\,b=x\=y,device=d1 on=true,text="say \"hi\" \\ now",value=7i 1767323045000006000` + "\n" +
		`tem\ p\,reading,a\,b=x\=y on=true,text="line` + "\n" + `break",value=18446744073709551615u 1767323046000006000` + "\n"
	if r.bodies[0] != want {
		t.Errorf("got  %s\nwant %s", r.bodies[0], want)
	}
	for name, change := range map[string]func(*pipeline.Event){
		"line break": func(e *pipeline.Event) { e.Subject = "a\nb value=1" },
		"infinite":   func(e *pipeline.Event) { e.Data = map[string]any{"value": math.Inf(1), "text": ""} },
		"a list":     func(e *pipeline.Event) { e.Data = map[string]any{"value": []any{}, "text": ""} },
		"backslash":  func(e *pipeline.Event) { e.Subject = `x\` },
		"old time":   func(e *pipeline.Event) { e.Time = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Add(1) },
	} {
		bad := events(3)
		for i := range bad {
			bad[i].Data = map[string]any{"value": 1.5, "text": "x"}
		}
		if change(&bad[1]); true {
			t.Run(name, func(t *testing.T) { wantRefused(t, s.Send(t.Context(), bad), 1) })
		}
	}
}

func TestFile(t *testing.T) {
	e := env()
	e.Files = filepath.Join(t.TempDir(), "files")
	clock := pipelinetest.NewClock(start)
	e.Clock = clock
	size := resource.MustParse("4Ki")
	spec := &v1alpha1.Sink{File: &v1alpha1.FileSink{Path: "a/out.jsonl", Rotate: &v1alpha1.Rotate{Size: &size, Age: &metav1.Duration{Duration: time.Hour}, Keep: 2}}}
	s := open(t, spec, e)
	name := filepath.Join(e.Files, "a", "out.jsonl")
	if err := s.Send(t.Context(), events(3)); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, name); len(got) != 3 || got[2]["id"] != "e-2" {
		t.Errorf("%v", got)
	}
	bad := events(2)
	bad[1].Data = math.NaN()
	wantRefused(t, s.Send(t.Context(), bad), 1)
	if got := lines(t, name); len(got) != 4 {
		t.Errorf("%v", got)
	}
	// A power cut leaves a line unfinished: it is cut off when the file is opened again.
	s.Close()
	f, _ := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	f.WriteString(`{"id":"torn`)
	f.Close()
	s = open(t, spec, e)
	if err := s.Send(t.Context(), events(1)); err != nil {
		t.Fatal(err)
	}
	if got := lines(t, name); len(got) != 5 {
		t.Errorf("%v", got)
	}
	rotated := func() []string {
		all, _ := filepath.Glob(filepath.Join(e.Files, "a", "out.2*.jsonl"))
		return all
	}
	for range 40 { // by size
		if err := s.Send(t.Context(), events(5)); err != nil {
			t.Fatal(err)
		}
	}
	if all := rotated(); len(all) != 2 {
		t.Errorf("%v are kept", all)
	}
	for _, name := range rotated() {
		if info, _ := os.Stat(name); info.Size() > 4096 || len(lines(t, name)) == 0 {
			t.Errorf("%s has %d bytes", name, info.Size())
		}
	}
	before := rotated()[1]
	clock.Advance(2 * time.Hour)
	if err := s.Send(t.Context(), events(1)); err != nil {
		t.Fatal(err)
	}
	if all := rotated(); len(lines(t, name)) != 1 || all[0] != before { // by age
		t.Errorf("%v", all)
	}
}

func lines(t *testing.T, name string) (out []map[string]any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("%s: %q: %v", name, line, err)
		}
		out = append(out, m)
	}
	return out
}

// TestFilePacked writes a frame with each Send, which one reader reads as one text; a restart
// begins a new file.
func TestFilePacked(t *testing.T) {
	e := env()
	e.Files = t.TempDir()
	spec := &v1alpha1.Sink{File: &v1alpha1.FileSink{Path: "out.jsonl.zst"}, Batch: &v1alpha1.BatchSpec{Compression: "zstd"}}
	s := open(t, spec, e)
	for range 2 {
		if err := s.Send(t.Context(), events(2)); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.Open(filepath.Join(e.Files, "out.jsonl.zst"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, _ := zstd.NewReader(f)
	defer d.Close()
	b, err := io.ReadAll(d)
	if strings.Count(string(b), "\n") != 4 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	s.Close()
	if err := open(t, spec, e).Send(t.Context(), events(1)); err != nil {
		t.Error(err)
	}
	if all, _ := filepath.Glob(filepath.Join(e.Files, "*")); len(all) != 2 {
		t.Error(all)
	}
}

// TestFileStaysInside follows no link out of the folder, and writes to no FIFO.
func TestFileStaysInside(t *testing.T) {
	e := env()
	e.Files = t.TempDir()
	outside := filepath.Join(t.TempDir(), "x")
	if err := errors.Join(os.Symlink(outside, filepath.Join(e.Files, "link")), os.Symlink(filepath.Dir(outside), filepath.Join(e.Files, "dir"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"link", "dir/x"} {
		s := open(t, &v1alpha1.Sink{File: &v1alpha1.FileSink{Path: path}}, e)
		if err := s.Send(t.Context(), events(1)); err == nil {
			t.Errorf("%s was written", path)
		}
	}
	if _, err := os.Lstat(outside); err == nil {
		t.Error("a file outside of the folder was made")
	}
}
