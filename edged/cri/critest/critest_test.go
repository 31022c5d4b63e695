package critest_test

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestServe takes a pod through its life over the socket.
func TestServe(t *testing.T) {
	rt := runtimetest.New()
	rt.AddImage("docker.io/library/x:1")
	c, err := cri.New(cri.Config{Socket: critest.Serve(t, rt)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	if err := c.Check(ctx); err != nil {
		t.Fatal(err)
	}
	if img, ok, err := c.ImageStatus(ctx, "docker.io/library/x:1"); !ok || err != nil || img.ID == "" {
		t.Errorf("image %+v %t %v", img, ok, err)
	}
	box := &runtime.SandboxConfig{Name: "p", Namespace: "n", UID: "u", Labels: map[string]string{runtime.LabelPodUID: "u"}}
	id, err := c.RunSandbox(ctx, box)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{runtime.LabelPodUID: "u", runtime.LabelContainerName: "main"}
	ctr, err := c.CreateContainer(ctx, id, &runtime.ContainerConfig{Name: "main", Labels: labels}, box)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StartContainer(ctx, ctr); err != nil {
		t.Fatal(err)
	}
	if got, err := c.ContainerStatus(ctx, ctr); err != nil || got.State != runtime.ContainerRunning || got.Started.IsZero() {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := c.SandboxStatus(ctx, id); err != nil || !got.Ready || len(got.IPs) != 1 || got.Name != "p" {
		t.Errorf("%+v %v", got, err)
	}
	if err := c.UpdateContainerResources(ctx, ctr, runtime.Resources{Memory: 64 << 20, CPUShares: 512}); err != nil {
		t.Error(err)
	}
	if err := c.UpdateContainerResources(ctx, ctr, runtime.Resources{CPUQuota: 20000}); err != nil {
		t.Error(err)
	}
	if got, err := c.ContainerStatus(ctx, ctr); err != nil || got.Resources == nil || got.Resources.Memory != 64<<20 || got.Resources.CPUQuota != 20000 || got.Resources.CPUShares != 512 {
		t.Errorf("resized: %+v %v", got.Resources, err)
	}
	if err := c.UpdateSandboxResources(ctx, id, runtime.Resources{}, runtime.Resources{Memory: 64 << 20}); err != nil {
		t.Error(err)
	}
	if err := c.UpdateContainerResources(ctx, "none", runtime.Resources{Memory: 1}); !isMissing(err) {
		t.Errorf("no such container: %v", err)
	}
	boxes, err := c.ListSandboxes(ctx, "u")
	if err != nil || len(boxes) != 1 {
		t.Errorf("%+v %v", boxes, err)
	}
	if err := c.RemoveSandbox(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SandboxStatus(ctx, id); !isMissing(err) {
		t.Errorf("a sandbox that was removed: %v", err)
	}
}

func isMissing(err error) bool {
	var missing interface{ NotFound() bool }
	return errors.As(err, &missing) && missing.NotFound()
}
