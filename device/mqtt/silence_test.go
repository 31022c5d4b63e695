package mqtt_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
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

// TestNoAnswersToClaims has nothing come to a mapper, which makes no calls as it knows no devices: the
// Link has the Bus connect again. From an edgecore that sends lists and answers no claims it does not.
func TestNoAnswersToClaims(t *testing.T) {
	for name, test := range map[string]struct {
		lists bool
		want  []time.Duration
	}{
		"nothing comes":                  {false, []time.Duration{40 * time.Second, 100 * time.Second, 220 * time.Second}},
		"edgecore of an earlier version": {true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := bus.New(bus.Config{Mode: bus.External, External: bustest.New()})
				if err != nil {
					t.Fatal(err)
				}
				link, err := mqtt.New(mqtt.Config{Bus: b, Node: "edge-7", Protocol: "suite"})
				if err != nil {
					t.Fatal(err)
				}
				detail := topics.Node("edge-7", topics.OfProtocol("suite", topics.MembershipDetail))
				if _, err := b.Subscribe(detail, func(ctx context.Context, m bus.Message) {
					if test.lists {
						_ = b.Publish(ctx, bus.Message{Topic: topics.Result(detail), Payload: []byte(`{"event_id":"1","timestamp":1,"devices":[],"revision":1}`)})
					}
				}); err != nil {
					t.Fatal(err)
				}
				begin := time.Now()
				var connected []time.Duration
				b.NotifyConnect(func() {
					if at := time.Since(begin); at > 0 {
						connected = append(connected, at)
					}
				})
				drives := false
				stop := edgetest.Run(t, b.Run, func(ctx context.Context) error {
					return link.Watch(ctx, func([]device.Instance) { drives = true })
				})
				time.Sleep(5 * time.Minute)
				stop()
				if !slices.Equal(connected, test.want) {
					t.Errorf("connected again after %v, want %v", connected, test.want)
				}
				if drives != test.lists {
					t.Errorf("the mapper has a list of devices: %v", drives)
				}
			})
		})
	}
}
