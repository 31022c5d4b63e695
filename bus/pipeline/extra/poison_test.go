package extra

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestTooLargeForKafka wants a record that the brokers do not take to be refused: tried again, it
// would hold up all that is behind it.
func TestTooLargeForKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "readings"), kfake.BrokerConfigs(map[string]string{"message.max.bytes": "10000"}))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	s := open(t, &v1alpha1.Sink{Kafka: &v1alpha1.KafkaSink{Brokers: cluster.ListenAddrs(), Topic: "readings"}}, env())
	if err := s.Send(t.Context(), events(3)); err != nil {
		t.Fatal(err)
	}
	large := event(4)
	large.Data = strings.Repeat("x", 20_000)
	if err := s.Send(t.Context(), []pipeline.Event{large}); !errors.Is(err, pipeline.ErrRefused) {
		t.Errorf("%v, want ErrRefused", err)
	}
	if err := s.Send(t.Context(), events(3)); err != nil {
		t.Error(err)
	}
}

// TestTooLargeForStream is the same for a stream of NATS.
func TestTooLargeForStream(t *testing.T) {
	server, stop := runNATS(t, t.TempDir(), -1)
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
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "plant", Subjects: []string{"plant.>"}, MaxMsgSize: 10_000}); err != nil {
		t.Fatal(err)
	}
	s := open(t, &v1alpha1.Sink{NATS: &v1alpha1.NATSSink{URL: v1alpha1.URL(server.ClientURL()), Subject: "plant.x"}, SecretRef: &v1alpha1.SecretRef{Name: "login"}}, env())
	list := events(3)
	list[1].Data = strings.Repeat("x", 20_000)
	wantRefused(t, s.Send(t.Context(), list), 1)
}

// TestParquetLeavesOtherFilesAlone has two sinks whose files differ by a part of their names.
func TestParquetLeavesOtherFilesAlone(t *testing.T) {
	e := env()
	e.Files = t.TempDir()
	for _, name := range []string{"temps.raw.parquet", "temps.parquet"} {
		s := open(t, &v1alpha1.Sink{File: &v1alpha1.FileSink{Path: name, Format: "parquet"}}, e)
		if err := s.Send(t.Context(), events(1)); err != nil {
			t.Fatal(err)
		}
	}
	journals, _ := filepath.Glob(filepath.Join(e.Files, "*.journal"))
	for _, name := range journals {
		if b, err := os.ReadFile(name); err != nil || strings.Count(string(b), "\n") != 1 {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if len(journals) != 2 {
		t.Errorf("%v", journals)
	}
}
