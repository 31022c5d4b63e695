package critest_test

import (
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// TestReclaim makes the calls that rotate logs and collect images over the socket.
func TestReclaim(t *testing.T) {
	rt := runtimetest.New()
	c, err := cri.New(cri.Config{Socket: critest.Serve(t, rt)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	var missing interface{ NotFound() bool }
	if err := c.ReopenContainerLog(ctx, "none"); !errors.As(err, &missing) || !missing.NotFound() {
		t.Errorf("no container: %v", err)
	}
	if image, err := c.SandboxImage(ctx); err != nil || image != "" {
		t.Errorf("%q %v", image, err)
	}
	rt.SetImageFilesystems("pause:3.6", runtime.Filesystem{Mountpoint: "/images", UsedBytes: 7, UsedInodes: 3})
	if image, err := c.SandboxImage(ctx); err != nil || image != "pause:3.6" {
		t.Errorf("%q %v", image, err)
	}
	images, containers, err := c.ImageFilesystems(ctx)
	want := runtime.Filesystem{Mountpoint: "/images", UsedBytes: 7, UsedInodes: 3}
	if err != nil || len(images) != 1 || images[0] != want || len(containers) != 1 || containers[0] != want {
		t.Errorf("%+v %+v %v", images, containers, err)
	}
	rt.SetImage(runtime.Image{ID: "sha256:1", Tags: []string{"a:1"}, Size: 5, Pinned: true})
	list, err := c.ListImages(ctx)
	if err != nil || len(list) != 1 || !list[0].Pinned {
		t.Errorf("%+v %v", list, err)
	}
	if err := c.RemoveImage(ctx, "sha256:1"); err != nil {
		t.Error(err)
	}
	if _, have, err := c.ImageStatus(ctx, "a:1"); have || err != nil {
		t.Errorf("%t %v", have, err)
	}
}
