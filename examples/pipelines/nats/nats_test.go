package nats

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/extra"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/examples/pipelines/internal/library"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, goleak.IgnoreCurrent()) }

// start starts a server with JetStream and one user; a port of -1 is a free one.
func start(t *testing.T, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true, Username: "edge", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return s
}

// TestStream runs pipeline.yaml: the aggregates are in the stream, once each, also those that came while
// the server was away.
func TestStream(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dir := t.TempDir()
	s := start(t, dir, -1)
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	connection, err := nats.Connect(s.ClientURL(), nats.UserInfo("edge", "secret"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	js, err := jetstream.New(connection)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "PLANT", Subjects: []string{"plant.>"}, Duplicates: 10 * time.Minute, Storage: jetstream.FileStorage})
	if err != nil {
		t.Fatal(err)
	}

	text, err := os.ReadFile("pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pipeline.ParseYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	p := all[0]
	p.Spec.Sinks[0].NATS.URL = v1alpha1.URL(s.ClientURL())
	p.Spec.Steps[0].Window.Tumbling = &metav1.Duration{Duration: 200 * time.Millisecond} // instead of a minute
	inside, broker := bustest.Broker(t)
	done := make(chan error, 1)
	go func() {
		done <- library.Run(ctx, library.Config{Broker: broker, Dir: t.TempDir(), Pipelines: all, Sinks: extra.Open(sinks.Open),
			Secret: func(context.Context, string, string) (map[string][]byte, error) {
				return map[string][]byte{"username": []byte("edge"), "password": []byte("secret")}, nil
			}})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	sent := 0
	publish := func() {
		t.Helper()
		sent++
		if err := inside.Publish(ctx, bus.Message{Topic: "plant/d1/temp", Payload: []byte(`{"device":"d1","value":80}`), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	// counted is how many readings the aggregates in the stream have, and how many ids there are twice.
	counted := func() (n, doubles int) {
		t.Helper()
		info, err := stream.Info(ctx)
		if err != nil {
			return 0, 0 // the server is coming back
		}
		ids := map[string]bool{}
		for i := range info.State.Msgs {
			m, err := stream.GetMsg(ctx, info.State.FirstSeq+i)
			if err != nil {
				return 0, 0
			}
			var event struct {
				ID, Source string
				Data       struct {
					Key   string
					Avg   float64
					Count int
				}
			}
			err = json.Unmarshal(m.Data, &event)
			if data := event.Data; err != nil || m.Subject != "plant.d1.minute" || data.Avg != 80 {
				t.Fatalf("%s: %s: %v", m.Subject, m.Data, err)
			}
			id := m.Header.Get(jetstream.MsgIDHeader)
			if id != event.Source+"/"+event.ID || ids[id] {
				doubles++
			}
			ids[id] = true
			n += event.Data.Count
		}
		return n, doubles
	}
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	first := 0
	for first == 0 { // until the source has subscribed; what was published before is not in the stream
		publish()
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatal("nothing came into the stream")
		}
		first, _ = counted()
	}
	lost := -1
	settle := func() {
		t.Helper()
		for steady, last := 0, -1; steady < 20; { // a second without change
			select {
			case <-again.C:
			case <-ctx.Done():
				t.Fatal("the stream does not settle")
			}
			n, _ := counted()
			if n > 0 && n == last && (lost < 0 || n == sent-lost) {
				steady++
			} else {
				steady = 0
			}
			last = n
		}
	}
	settle()
	n, _ := counted()
	lost = sent - n // before the subscription
	var port int
	for _, c := range s.ClientURL()[len("nats://127.0.0.1:"):] {
		port = port*10 + int(c-'0')
	}
	s.Shutdown()
	s.WaitForShutdown()
	for range 10 {
		publish()
		<-again.C
	}
	s = start(t, dir, port)
	settle()
	if n, doubles := counted(); n != sent-lost || doubles != 0 {
		t.Errorf("%d of %d readings are in the stream, %d ids are there twice", n, sent-lost, doubles)
	}
}
