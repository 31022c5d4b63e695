package extra

import (
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

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/parquet-go/parquet-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*Server).startGoRoutine.func1"), // of the server in the tests, while it ends
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushLoop"),
	)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)

func event(n int) pipeline.Event {
	return pipeline.Event{ID: fmt.Sprint("e-", n), Source: "/edge-7/temps", Type: "reading", Subject: "d1", Time: start.Add(time.Duration(n) * time.Second), Data: map[string]any{"value": float64(n), "n": int64(n), "name": "x"}}
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
		Secret: func(context.Context, string, string) (map[string][]byte, error) {
			return map[string][]byte{"username": []byte("u"), "password": []byte("sesame")}, nil
		},
	}
}

func open(t *testing.T, spec *v1alpha1.Sink, env pipeline.Env) pipeline.Sink {
	t.Helper()
	spec.Name = "up"
	s, err := Open(sinks.Open)(spec, env)
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

func wantRefused(t *testing.T, err error, index int) {
	t.Helper()
	if one, ok := errors.AsType[*pipeline.RefusedError](err); !ok || one.Index != index {
		t.Errorf("%v, want event %d refused", err, index)
	}
}

// wantAgain wants an error that is tried again, without the password in it.
func wantAgain(t *testing.T, err error) {
	t.Helper()
	if err == nil || errors.Is(err, pipeline.ErrRefused) || strings.Contains(err.Error(), "sesame") {
		t.Errorf("%v, want an error that is tried again", err)
	}
}

func TestSpecsAreChecked(t *testing.T) {
	for part, spec := range map[string]*v1alpha1.Sink{
		"nats.url":                  {NATS: &v1alpha1.NATSSink{URL: "http://h", Subject: "x"}},
		"kafka.brokers[0]":          {Kafka: &v1alpha1.KafkaSink{Brokers: []string{"h"}, Topic: "t"}},
		"brokers and topic":         {Kafka: &v1alpha1.KafkaSink{}},
		"otlp.endpoint":             {OTLP: &v1alpha1.OTLPSink{Endpoint: "grpc://h"}},
		"this sink has [gzip none]": {OTLP: &v1alpha1.OTLPSink{Endpoint: "http://h"}, Batch: &v1alpha1.BatchSpec{Compression: "zstd"}},
		"this sink has [none]":      {NATS: &v1alpha1.NATSSink{URL: "nats://h", Subject: "x"}, Batch: &v1alpha1.BatchSpec{Compression: "zstd"}},
		"file: this program allows": {File: &v1alpha1.FileSink{Path: "x", Format: "parquet"}},
		"mqtt: this program has no": {MQTT: &v1alpha1.MQTTSink{Topic: "x"}}, // of the next opener
	} {
		if _, err := Open(sinks.Open)(spec, env()); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// runNATS runs a server with JetStream and a stream for "plant.>".
func runNATS(t *testing.T, dir string, port int) (*natsserver.Server, func()) {
	t.Helper()
	s, err := natsserver.NewServer(&natsserver.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true, Username: "u", Password: "sesame", MaxPayload: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	return s, func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

func TestNATS(t *testing.T) {
	dir := t.TempDir()
	server, stop := runNATS(t, dir, -1)
	defer stop()
	conn, err := nats.Connect(server.ClientURL(), nats.UserInfo("u", "sesame"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	spec := &v1alpha1.Sink{NATS: &v1alpha1.NATSSink{URL: v1alpha1.URL(server.ClientURL()), Subject: "plant.{event.subject}", Stream: "plant"}, SecretRef: &v1alpha1.SecretRef{Name: "login"}}
	s := open(t, spec, env())
	wantAgain(t, s.Send(t.Context(), events(1))) // there is no stream yet
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "plant", Subjects: []string{"plant.>"}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time they are doubles
		if err := s.Send(t.Context(), events(20)); err != nil {
			t.Fatal(err)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 20 {
		t.Fatalf("%d messages, %v", info.State.Msgs, err)
	}
	m, err := stream.GetMsg(t.Context(), 3)
	if err != nil || m.Subject != "plant.d1" || m.Header.Get("Nats-Msg-Id") != "/edge-7/temps/e-2" || !strings.Contains(string(m.Data), `"id":"e-2"`) {
		t.Errorf("%+v, %v", m, err)
	}
	for _, subject := range []string{"a b", ">", "", "a..b"} {
		bad := events(3)
		bad[1].Subject = subject
		wantRefused(t, s.Send(t.Context(), bad), 1)
	}
	bad := events(3)
	bad[2].Data = strings.Repeat("x", 100<<10)
	wantRefused(t, s.Send(t.Context(), bad), 2)
	// The server goes and comes again: nothing of a batch is lost.
	port := server.Addr().String()
	port = port[strings.LastIndexByte(port, ':')+1:]
	stop()
	wantAgain(t, s.Send(t.Context(), events(1)))
	var n int
	fmt.Sscan(port, &n)
	_, stop2 := runNATS(t, dir, n)
	defer stop2()
	list := events(25)[20:]
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := s.Send(ctx, list)
		if err == nil {
			break
		}
		if wantAgain(t, err); ctx.Err() != nil {
			t.Fatal(err)
		}
	}
	wrong := env()
	wrong.Secret = func(context.Context, string, string) (map[string][]byte, error) {
		return map[string][]byte{"token": []byte("sesame")}, nil
	}
	wantAgain(t, open(t, spec, wrong).Send(t.Context(), events(1)))
}

func TestKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "readings"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	for _, packing := range []string{"", "zstd", "gzip"} {
		s := open(t, &v1alpha1.Sink{
			Kafka: &v1alpha1.KafkaSink{Brokers: cluster.ListenAddrs(), Topic: "readings", Key: "event.data.n"}, Batch: &v1alpha1.BatchSpec{Compression: packing},
		}, env())
		if err := s.Send(t.Context(), events(20)); err != nil {
			t.Fatal(err)
		}
		bad := events(3)
		bad[1].Data = map[string]any{"n": []any{}}
		wantRefused(t, s.Send(t.Context(), bad), 1)
		bad[1].Data = map[string]any{"n": "x", "text": strings.Repeat("x", 2<<20)}
		wantRefused(t, s.Send(t.Context(), bad), 1)
	}
	reader, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("readings"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	var records []*kgo.Record
	for len(records) < 3*22 {
		got := reader.PollFetches(t.Context())
		if err := got.Err(); err != nil {
			t.Fatal(err)
		}
		records = append(records, got.Records()...)
	}
	var e map[string]any
	if r := records[7]; string(r.Key) != "7" || json.Unmarshal(r.Value, &e) != nil || e["id"] != "e-7" || !r.Timestamp.Equal(event(7).Time.Truncate(time.Millisecond)) {
		t.Errorf("%s %s %v", r.Key, r.Value, r.Timestamp)
	}
	s := open(t, &v1alpha1.Sink{Kafka: &v1alpha1.KafkaSink{Brokers: cluster.ListenAddrs(), Topic: "none"}}, env())
	wantAgain(t, s.Send(t.Context(), events(1)))
	s = open(t, &v1alpha1.Sink{Kafka: &v1alpha1.KafkaSink{Brokers: []string{"127.0.0.1:1"}, Topic: "x"}}, env())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	wantAgain(t, s.Send(ctx, events(1)))
}

func TestOTLP(t *testing.T) {
	var path string
	var body, answer []byte
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
		_, _ = w.Write(answer)
	}))
	defer server.Close()
	s := open(t, &v1alpha1.Sink{OTLP: &v1alpha1.OTLPSink{Endpoint: v1alpha1.URL(server.URL)}}, env())
	list := events(2)
	list[0].Data = []any{nil, true, "x\xff", []byte{1}, uint64(math.MaxUint64)}
	if err := s.Send(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var logs logspb.LogsData
	if err := proto.Unmarshal(body, &logs); err != nil || path != "/v1/logs" {
		t.Fatal(path, err)
	}
	records := logs.ResourceLogs[0].ScopeLogs[0].LogRecords
	if r := records[1]; len(records) != 2 || r.TimeUnixNano != uint64(event(1).Time.UnixNano()) || r.EventName != "reading" || !strings.Contains(r.String(), `"e-1"`) || r.Body.GetKvlistValue().Values[2].Value.GetDoubleValue() != 1 {
		t.Errorf("%v", records)
	}
	answer = []byte{10, 2, 8, 1} // partial success: one is rejected
	if err := s.Send(t.Context(), list); !errors.Is(err, pipeline.ErrRefused) {
		t.Error(err)
	}
	answer = []byte("\xff\xff garbage")
	if err := s.Send(t.Context(), list); err != nil {
		t.Error(err)
	}
	status = http.StatusServiceUnavailable
	wantAgain(t, s.Send(t.Context(), list))
	status, answer = http.StatusOK, nil
	m := open(t, &v1alpha1.Sink{OTLP: &v1alpha1.OTLPSink{Endpoint: v1alpha1.URL(server.URL + "/v1/metrics")}}, env())
	list = events(3)
	list[1].Data = 7.5
	if err := m.Send(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var metrics metricspb.MetricsData
	if err := proto.Unmarshal(body, &metrics); err != nil || path != "/v1/metrics" {
		t.Fatal(path, err)
	}
	got := metrics.ResourceMetrics[0].ScopeMetrics[0].Metrics
	if len(got) != 3 || got[0].Name != "n" || len(got[1].GetGauge().DataPoints) != 2 || got[2].Name != "reading" || got[2].GetGauge().DataPoints[0].GetAsDouble() != 7.5 {
		t.Errorf("%v", got)
	}
	list[1].Data = "no number"
	wantRefused(t, m.Send(t.Context(), list), 1)
}

func FuzzRejected(f *testing.F) {
	f.Add([]byte{10, 2, 8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := rejected(b); n < 0 {
			t.Error(n)
		}
	})
}

func TestParquet(t *testing.T) {
	e := env()
	e.Files = t.TempDir()
	clock := pipelinetest.NewClock(start)
	e.Clock = clock
	size := resource.MustParse("16Ki")
	spec := &v1alpha1.Sink{
		File:  &v1alpha1.FileSink{Path: "a/out.parquet", Format: "parquet", Rotate: &v1alpha1.Rotate{Size: &size, Age: &metav1.Duration{Duration: time.Hour}, Keep: 100}},
		Batch: &v1alpha1.BatchSpec{Compression: "zstd"},
	}
	s := open(t, spec, e)
	sent := 0
	send := func(n int) {
		t.Helper()
		var list []pipeline.Event
		for range n {
			list = append(list, event(sent))
			sent++
		}
		if err := s.Send(t.Context(), list); err != nil {
			t.Fatal(err)
		}
	}
	files := func(pattern string) []string {
		all, _ := filepath.Glob(filepath.Join(e.Files, "a", pattern))
		return all
	}
	for range 40 {
		send(7)
		clock.Advance(time.Millisecond)
	}
	if len(files("*.parquet")) < 2 || len(files("*.journal")) != 1 {
		t.Errorf("%v", files("*"))
	}
	s.Close() // a restart goes on with the journal
	s = open(t, spec, e)
	send(1)
	if n := len(files("*.journal")); n != 1 {
		t.Errorf("%d journals", n)
	}
	// A kill after the file was made and before its journal was removed; and one that tore a line.
	s.Close()
	last := files("*.parquet")[0]
	_ = os.WriteFile(last+".journal", []byte("{}\n"), 0o600)
	journal := files("*.journal")[1]
	f, _ := os.OpenFile(journal, os.O_APPEND|os.O_WRONLY, 0)
	_, _ = f.WriteString(`{"torn`)
	f.Close()
	s = open(t, spec, e)
	clock.Advance(2 * time.Hour)
	send(1) // by age
	if n := len(files("*.journal")); n != 1 {
		t.Errorf("%d journals", n)
	}
	found := 0
	for _, name := range files("*.parquet") {
		rows, err := parquet.ReadFile[Row](name)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if want := event(found); r.ID != want.ID || !r.Time.Equal(want.Time) || r.Data != fmt.Sprintf(`{"n":%d,"name":"x","value":%d}`, found, found) || r.Subject != "d1" {
				t.Errorf("%+v, want %+v", r, want)
			}
			found++
		}
	}
	if found != sent-1 {
		t.Errorf("%d of %d events are in files", found, sent-1)
	}
	bad := events(2)
	bad[1].Data = math.NaN()
	wantRefused(t, s.Send(t.Context(), bad), 1)
}
