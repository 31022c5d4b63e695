package mqtt_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/device/mqtt"
)

// TestNoAnswers reports to an edgecore that never answers: the Link has the Bus connect again,
// and then less and less often.
func TestNoAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := bus.New(bus.Config{Mode: bus.External, External: bustest.New()})
		if err != nil {
			t.Fatal(err)
		}
		link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7"})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		var connected []time.Duration
		b.NotifyConnect(func() { connected = append(connected, time.Since(begin)) })
		stop := edgetest.Run(t, b.Run)
		synctest.Wait()
		first := len(connected)
		for range 30 { // five minutes
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := link.Report(ctx, "a/b", map[string]string{"x": "1"}); err == nil {
				t.Error("answered")
			}
			cancel()
		}
		again := connected[first:]
		want := []time.Duration{40 * time.Second, 100 * time.Second, 220 * time.Second}
		if len(again) != len(want) {
			t.Fatalf("connected again after %v, want %v", again, want)
		}
		for i := range want {
			if again[i] != want[i] {
				t.Errorf("connected again after %v, want %v", again, want)
			}
		}
		stop()
	})
}
