package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestGateway runs the program: what is hot comes out at MQTT and is in the file.
func TestGateway(t *testing.T) {
	text, err := os.ReadFile("pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, address := t.TempDir(), bustest.Address(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 2)
	go func() { done <- run(ctx, text, dir, address, slog.New(slog.DiscardHandler)) }()
	c, err := client.New(client.Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.External, External: c})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1000)
	stop, err := b.Subscribe("alarms/+", func(_ context.Context, m bus.Message) { got <- m.Topic + " " + string(m.Payload) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	go func() { done <- b.Run(ctx) }()
	again := time.NewTicker(100 * time.Millisecond) // until the source has subscribed
	defer again.Stop()
waiting:
	for {
		select {
		case g := <-got:
			if g != `alarms/boiler {"device":"boiler","value":91}` {
				t.Error(g)
			}
			break waiting
		case <-again.C:
			for _, body := range []string{`{"device":"boiler","value":79}`, `{"device":"boiler","value":91}`} {
				if err := b.Publish(ctx, bus.Message{Topic: "plant/boiler/temp", Payload: []byte(body), QoS: bus.AtLeastOnce}); err != nil {
					t.Fatal(err)
				}
			}
		case <-ctx.Done():
			t.Fatal("no alarm")
		}
	}
	var lines []byte
	for len(lines) == 0 && ctx.Err() == nil { // the sinks go at their own pace
		<-again.C
		lines, _ = os.ReadFile(filepath.Join(dir, "files", "hot.jsonl"))
	}
	first, _, _ := bytes.Cut(lines, []byte("\n"))
	if !json.Valid(first) || !bytes.Contains(first, []byte(`"value":91`)) {
		t.Errorf("the file has %q", lines)
	}
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}
