package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/examples/pipelines/internal/library"
)

// TestWay: samples of a worn pump over MQTT, through the Pipeline's windows, the model and the Pipeline again,
// set the pump's twin; those of a healthy one do not.
func TestWay(t *testing.T) {
	text, err := os.ReadFile("pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pipeline.ParseYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	spec := &all[0].Spec
	spec.Steps[0].Window.Tumbling = &metav1.Duration{Duration: time.Second} // instead of ten
	inside, url := bustest.Broker(t)
	twins := &pipelinetest.Twins{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 2)
	go func() {
		done <- library.Run(ctx, library.Config{Broker: url, Dir: t.TempDir(), Pipelines: all, Twins: twins})
	}()
	go func() { done <- (&flags{Broker: url}).run(ctx, slog.New(slog.DiscardHandler)) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()
	var judged atomic.Int64
	stop, err := inside.Subscribe(verdicts+"+", func(context.Context, bus.Message) { judged.Add(1) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	tick := time.NewTicker(10 * time.Millisecond) // 100 samples a second
	defer tick.Stop()
	for i := 0; ; i++ {
		worn, _ := twins.Desired("worn", "alarm")
		healthy, _ := twins.Desired("healthy", "alarm")
		if worn == "true" && healthy == "false" {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the twins are %v and %v after %d verdicts", worn, healthy, judged.Load())
		}
		swing := float64(i%2)*2 - 1 // a deviation of 1
		for pump, extra := range map[string]float64{"healthy": 0, "worn": 0.8} {
			load := 0.6
			body := fmt.Sprintf(`{"device":%q,"vibration":%v,"current":%v}`, pump, 1+2*load*load+extra+swing*(0.05+0.4*load), 4+10*load+swing*(0.1+0.8*load))
			if err := inside.Publish(ctx, bus.Message{Topic: "pumps/" + pump + "/sample", Payload: []byte(body), QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestDeployment: deployment.yaml has no unknown fields.
func TestDeployment(t *testing.T) {
	text, err := os.ReadFile("deployment.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var d appsv1.Deployment
	if err := yaml.UnmarshalStrict(text, &d); err != nil || d.Spec.Template.Spec.Containers[0].Resources.Limits.Memory().Value() != 32<<20 {
		t.Errorf("%+v %v", d.Spec, err)
	}
}
