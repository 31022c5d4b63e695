package placement_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
	"github.com/edgekit/edgekit/edged/internal/placement"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/internal/topology"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fourCPUs is a Config of a machine with four CPUs, of which CPU 0 is reserved.
func fourCPUs(t *testing.T, rt runtime.Runtime) placement.Config {
	machine := &topology.Machine{CPUs: make(map[int]topology.CPU), Nodes: map[int]topology.Node{0: {}}}
	for id := range 4 {
		machine.CPUs[id] = topology.CPU{Core: id}
	}
	alloc, err := topology.New(topology.Config{Machine: machine, CPUs: true, ReservedCount: 1})
	if err != nil {
		t.Fatal(err)
	}
	return placement.Config{
		File: filepath.Join(t.TempDir(), "state"), Allocator: alloc, Metrics: new(topology.Metrics), Runtime: rt, PinCPUs: true, Period: time.Second,
		Ended: func() {}, Pods: func() map[string]bool { return map[string]bool{"shared": true} }, Logger: slog.New(slog.DiscardHandler),
	}
}

// TestLifecycle holds each of these to the lifecycle of package lifecycle.
func TestLifecycle(t *testing.T) {
	t.Run("placement.Placement", func(t *testing.T) {
		lifecycletest.RunOnce(t, placement.New(fourCPUs(t, runtimetest.New())).Run)
	})
}

// TestOthersLeave: when a container gets CPUs alone, the containers that run already leave them;
// when it gives them back, the others may use them again.
func TestOthersLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := runtimetest.New()
		cfg := fourCPUs(t, rt)
		p := placement.New(cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.Run(ctx) }()

		shared := podtest.New(corev1.RestartPolicyAlways, "main")
		shared.UID = "shared"
		sandbox, err := rt.RunSandbox(ctx, &runtime.SandboxConfig{Name: "shared", UID: "shared"})
		if err != nil {
			t.Fatal(err)
		}
		container := &runtime.ContainerConfig{Name: "main"}
		p.Place(shared, "main", &container.Resources)
		id, err := rt.CreateContainer(ctx, sandbox, container, nil)
		if err != nil {
			t.Fatal(err)
		}
		p.Created(id, container.Resources.CPUSetCPUs)
		if err := rt.StartContainer(ctx, id); err != nil {
			t.Fatal(err)
		}
		p.Started(shared, "main", id)
		runsOn := func() string {
			c, err := rt.ContainerStatus(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			return c.Resources.CPUSetCPUs
		}
		if got := runsOn(); got != "0-3" {
			t.Errorf("at first it runs on %q", got)
		}

		alone := podtest.New(corev1.RestartPolicyAlways, "main")
		alone.UID = "alone"
		list := podtest.Resources("cpu", "2", "memory", "1Gi")
		alone.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
		if refused := p.Admit(alone); refused != nil {
			t.Fatal(refused)
		}
		synctest.Wait()
		if cpus, _ := p.Own("alone", "main"); len(cpus) != 2 || !p.OwnsCPUs(alone) {
			t.Errorf("the container has %v alone", cpus)
		}
		if got := runsOn(); got == "0-3" || got == "" {
			t.Errorf("beside a container with CPUs of its own it runs on %q", got)
		}
		if state, found, err := topology.Load(cfg.File); err != nil || !found || state.Empty() {
			t.Errorf("the file: %+v, %t, %v", state, found, err)
		}

		p.Release(func(uid string) bool { return uid != "alone" })
		synctest.Wait()
		if got := runsOn(); got != "0-3" {
			t.Errorf("at the end it runs on %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
