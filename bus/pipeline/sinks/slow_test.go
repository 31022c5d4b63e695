package sinks

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// slow takes a time for each event.
type slow struct {
	pipelinetest.Broker
	pipelinetest.Twins
	each time.Duration
	done int
}

func (s *slow) work(ctx context.Context) error {
	select {
	case <-time.After(s.each):
		s.done++
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slow) Publish(ctx context.Context, _ bus.Message) error { return s.work(ctx) }

func (s *slow) SetDesired(ctx context.Context, _, _ string, _ any) error { return s.work(ctx) }

// TestSlow wants a batch that takes long as a whole to be sent: given up, it would be begun anew
// until its events are dead letters. What hangs at one event is given up.
func TestSlow(t *testing.T) {
	for name, spec := range map[string]*v1alpha1.Sink{
		"mqtt": {MQTT: &v1alpha1.MQTTSink{Topic: "x"}},
		"twin": {Twin: &v1alpha1.TwinSink{Device: "event.subject", Property: "p", Value: "1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, far := env(), &slow{each: time.Second}
				e.Broker, e.Twins = far, far
				s := open(t, spec, e)
				if err := s.Send(t.Context(), events(100)); err != nil || far.done != 100 {
					t.Errorf("%d were sent: %v", far.done, err)
				}
				far.each = time.Hour
				if err := s.Send(t.Context(), events(1)); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, pipeline.ErrRefused) {
					t.Error(err)
				}
			})
		})
	}
}
