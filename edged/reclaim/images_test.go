package reclaim

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// imageNode is a runtime with images on a disk of 1,000 bytes.
type imageNode struct {
	rt     *runtimetest.Runtime
	mu     sync.Mutex
	inUse  []string
	other  uint64 // bytes that something else uses
	events []string
}

func newImageNode(images ...runtime.Image) *imageNode {
	n := &imageNode{rt: runtimetest.New()}
	n.rt.SetImageFilesystems("pause:1", runtime.Filesystem{Mountpoint: "/images"})
	for _, i := range images {
		n.rt.SetImage(i)
	}
	return n
}

func (n *imageNode) space(string) (usage, error) {
	list, err := n.rt.ListImages(context.Background())
	n.mu.Lock()
	defer n.mu.Unlock()
	used := n.other
	for _, i := range list {
		used += i.Size
	}
	return usage{1000, 1000 - min(used, 1000)}, err
}

func (n *imageNode) images(t *testing.T, cfg ImagesConfig) *Images {
	t.Helper()
	cfg.Runtime, cfg.Store = n.rt, n.rt
	cfg.InUse = func() []string {
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.Clone(n.inUse)
	}
	cfg.Event = func(_, reason, message string) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.events = append(n.events, reason+": "+message)
	}
	c, err := NewImages(cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.space = n.space
	return c
}

// left lists the images that are there.
func (n *imageNode) left(t *testing.T) string {
	t.Helper()
	list, err := n.rt.ListImages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range list {
		out = append(out, i.ID)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func img(id string, size uint64) runtime.Image {
	return runtime.Image{ID: id, Tags: []string{"quay.io/" + id + ":1"}, Size: size}
}

func metrics(c *Images) string {
	var out strings.Builder
	_ = metricstext.Write(&out, c)
	return out.String()
}

func TestCollect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pinned := img("pinned", 10)
		pinned.Pinned = true
		pause := runtime.Image{ID: "infra", Tags: []string{"pause:1"}, Size: 10}
		n := newImageNode(img("a", 100), img("b", 100), img("c", 100), img("d", 200), pinned, pause, img("named", 80))
		n.inUse = []string{"quay.io/named:1"}
		// A container uses d, and has ended.
		box, err := n.rt.RunSandbox(t.Context(), &runtime.SandboxConfig{UID: "u", Labels: labels("u")})
		if err == nil {
			_, err = n.rt.CreateContainer(t.Context(), box, &runtime.ContainerConfig{Name: "main", Image: "d", ImageName: "quay.io/d:1", Labels: labels("u")}, nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		c := n.images(t, ImagesConfig{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		if got := n.left(t); got != "a b c d infra named pinned" { // 600 of 1000 bytes
			t.Errorf("below the threshold: %s", got)
		}
		n.mu.Lock()
		n.other = 300
		n.mu.Unlock()
		time.Sleep(5 * time.Minute)
		if got := n.left(t); got != "b c d infra named pinned" { // 900, at least 100 have to go
			t.Errorf("above the threshold: %s", got)
		}
		if m := metrics(c); !strings.Contains(m, `kubelet_image_garbage_collected_total{reason="space"} 1`) || !strings.Contains(m, `{reason="age"} 0`) {
			t.Error(m)
		}
		n.mu.Lock()
		if len(n.events) > 0 {
			t.Errorf("%q", n.events)
		}
		n.other = 900
		n.mu.Unlock()
		time.Sleep(15 * time.Minute)
		if got := n.left(t); got != "d infra named pinned" {
			t.Errorf("all that may go: %s", got)
		}
		n.mu.Lock()
		if len(n.events) != 3 || !strings.HasPrefix(n.events[0], "FreeDiskSpaceFailed: ") || !strings.HasPrefix(n.events[2], "ImageGCFailed: ") {
			t.Errorf("%q", n.events)
		}
		n.mu.Unlock()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestCollectYoungOnes: the disk is full from the start, and an image that has just come
// stays for two minutes.
func TestCollectYoungOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newImageNode(img("a", 900))
		c := n.images(t, ImagesConfig{})
		if err := c.CollectGarbage(t.Context()); err == nil || n.left(t) != "a" {
			t.Errorf("%v %s", err, n.left(t))
		}
		time.Sleep(2 * time.Minute)
		n.rt.SetImage(img("new", 50))
		if err := c.CollectGarbage(t.Context()); err != nil || n.left(t) != "new" {
			t.Errorf("%v %s", err, n.left(t))
		}
	})
}

func TestMaximumAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newImageNode(img("a", 10), img("b", 10))
		n.inUse = []string{"quay.io/b:1"}
		c := n.images(t, ImagesConfig{HighThresholdPercent: 100, MaximumAge: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		time.Sleep(59 * time.Minute)
		if got := n.left(t); got != "a b" {
			t.Error(got)
		}
		n.mu.Lock()
		n.inUse = nil
		n.mu.Unlock()
		time.Sleep(10 * time.Minute)
		if got := n.left(t); got != "b" {
			t.Error(got)
		}
		time.Sleep(time.Hour)
		if got := n.left(t); got != "" || !strings.Contains(metrics(c), `{reason="age"} 2`) {
			t.Error(got, metrics(c))
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestReclaimAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newImageNode(img("a", 10), img("b", 20), img("used", 40))
		n.inUse = []string{"used"}
		removed := 0
		c := n.images(t, ImagesConfig{Removed: func() { removed++ }})
		// b cannot be removed; the others are tried all the same.
		broken := errors.New("read-only file system")
		n.rt.FailWith(func(call string) error {
			if call == "RemoveImage b" {
				return broken
			}
			return nil
		})
		freed, err := c.ReclaimAll(t.Context())
		if freed != 10 || !errors.Is(err, broken) || n.left(t) != "b used" || removed != 1 {
			t.Errorf("%d %v %s, Removed called %d times", freed, err, n.left(t), removed)
		}
		n.rt.FailWith(nil)
		n.rt.SetImage(img("young", 5)) // somebody has just pulled it
		if freed, err := c.ReclaimAll(t.Context()); freed != 20 || err != nil || n.left(t) != "used young" {
			t.Errorf("%d %v %s", freed, err, n.left(t))
		}
		n.rt.FailReadsWith(func(string) error { return broken })
		if freed, err := c.ReclaimAll(t.Context()); freed != 0 || !errors.Is(err, broken) {
			t.Errorf("%d %v", freed, err)
		}
	})
}

// TestPodThatStarts: a pod begins to use an image that is about to be removed. It keeps
// the image, or the image is gone before the pod looks for it.
func TestPodThatStarts(t *testing.T) {
	n := newImageNode(img("a", 10))
	c := n.images(t, ImagesConfig{})
	want := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.inUse = []string{"quay.io/a:1"}
	}
	n.rt.FailReadsWith(func(verb string) error {
		if verb == "SandboxImage" { // after it was decided what is unused
			want()
		}
		return nil
	})
	if freed, err := c.ReclaimAll(t.Context()); err != nil || freed != 0 || n.left(t) != "a" {
		t.Errorf("%d %v %s", freed, err, n.left(t))
	}
	n.mu.Lock()
	n.inUse = nil
	n.mu.Unlock()
	settled := make(chan error, 1)
	n.rt.FailReadsWith(nil)
	n.rt.FailWith(func(call string) error {
		if call == "RemoveImage a" {
			want() // too late
			go func() { settled <- c.Settle(t.Context()) }()
			select {
			case <-settled:
				t.Error("a pod that starts does not wait for the removal")
			default:
			}
		}
		return nil
	})
	if _, err := c.ReclaimAll(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-settled; err != nil || n.left(t) != "" {
		t.Errorf("%v %s", err, n.left(t))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.gate <- struct{}{}
	if err := c.Settle(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNoCapacity(t *testing.T) {
	n := newImageNode(img("a", 10))
	c := n.images(t, ImagesConfig{})
	c.space = func(string) (usage, error) { return usage{}, nil }
	if err := c.CollectGarbage(t.Context()); err == nil || len(n.events) != 1 || !strings.HasPrefix(n.events[0], "InvalidDiskCapacity: ") {
		t.Errorf("%v %q", err, n.events)
	}
	n.rt.SetImageFilesystems("")
	if err := c.CollectGarbage(t.Context()); err == nil {
		t.Error("a runtime that does not say where images are")
	}
	if u, err := spaceOf(t.TempDir()); err != nil || u.capacity == 0 || u.available > u.capacity {
		t.Errorf("%+v %v", u, err)
	}
	if _, err := spaceOf("/no/such/folder"); err == nil {
		t.Error("no error for a folder that is not there")
	}
}

func TestImagesConfig(t *testing.T) {
	rt := runtimetest.New()
	for name, cfg := range map[string]ImagesConfig{
		"Runtime": {Store: rt}, "Store": {Runtime: rt},
		"HighThresholdPercent": {Runtime: rt, Store: rt, HighThresholdPercent: 101},
		"LowThresholdPercent":  {Runtime: rt, Store: rt, HighThresholdPercent: 80},
		"MaximumAge":           {Runtime: rt, Store: rt, MaximumAge: time.Minute},
	} {
		if _, err := NewImages(cfg); err == nil || !strings.Contains(err.Error(), "ImagesConfig."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
