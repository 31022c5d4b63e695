package reclaim

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/runtime"
)

// imageRecord is what is remembered of an image while the agent runs.
type imageRecord struct {
	firstSeen time.Time
	lastUsed  time.Time // zero if it was not used since firstSeen
	older     bool      // it was there when the agent began to look
}

// unusedImage is an image that may be removed.
type unusedImage struct {
	id   string
	size uint64 // bytes, as the runtime says
	imageRecord
}

// imagePolicy is when images are collected.
type imagePolicy struct {
	high, low      int           // percent of the file system in use
	minAge, maxAge time.Duration // since it was first seen; since it was last used, 0 for any
}

// usage is how full a file system is.
type usage struct{ capacity, available uint64 } // bytes

// percent is how much of the file system is used, counted as the kubelet does:
// rounded up.
func (u usage) percent() int { return 100 - int(u.available*100/u.capacity) }

// toFree is how many bytes must be freed: none below the high threshold, else what
// brings the use down to the low one.
func (p imagePolicy) toFree(u usage) uint64 {
	if u.percent() < p.high {
		return 0
	}
	want := u.capacity / 100 * uint64(100-p.low)
	return want - min(want, u.available)
}

// users is what keeps images on a node.
type users struct {
	names        map[string]bool // references and ids of containers, pods and of whom it concerns besides
	sandboxImage string          // of the runtime; "" if it does not say
}

// newUsers makes users of references as people and runtimes write them.
func newUsers(names []string) users {
	u := users{names: make(map[string]bool, 2*len(names))}
	for _, name := range names {
		u.names[name] = true
		if ref, err := image.Parse(name); err == nil {
			u.names[ref.String()] = true // "busybox" is "docker.io/library/busybox:latest"
		}
	}
	return u
}

// keep reports whether an image is in use, or must stay for another reason.
func (u users) keep(i runtime.Image) bool {
	if i.Pinned || u.names[i.ID] || u.names[strings.TrimPrefix(i.ID, "sha256:")] || i.SpecifiedImageRef != "" && u.names[i.SpecifiedImageRef] {
		return true
	}
	for _, name := range slices.Concat(i.Tags, i.Digests) {
		if u.names[name] || name == u.sandboxImage || u.sandboxImage == "" && isPause(name) {
			return true
		}
		if ref, err := image.Parse(name); err == nil && u.names[ref.String()] {
			return true
		}
	}
	return false
}

// isPause reports whether an image is the one that sandboxes are made of, by its
// usual name. Where a runtime neither says which it is nor pins it, no pod would
// start without it, and a node that is offline could not get it back.
func isPause(name string) bool {
	name, _, _ = strings.Cut(name, "@")
	base := path.Base(name)
	base, _, _ = strings.Cut(base, ":")
	return base == "pause"
}

// observeImages brings the records up to date and lists the images that nobody
// uses, the longest unused first, as the kubelet's imagesInEvictionOrder.
func observeImages(records map[string]imageRecord, images []runtime.Image, u users, now time.Time) []unusedImage {
	first := len(records) == 0
	present := make(map[string]bool, len(images))
	var out []unusedImage
	for _, i := range images {
		present[i.ID] = true
		r, known := records[i.ID]
		if !known {
			r = imageRecord{firstSeen: now, older: first}
		}
		if r.firstSeen.After(now) {
			r.firstSeen = now // the clock was set back
		}
		if u.keep(i) {
			r.lastUsed = now
		} else {
			out = append(out, unusedImage{id: i.ID, size: i.Size, imageRecord: r})
		}
		records[i.ID] = r
	}
	for id := range records {
		if !present[id] {
			delete(records, id)
		}
	}
	slices.SortFunc(out, func(a, b unusedImage) int {
		return cmp.Or(a.lastUsed.Compare(b.lastUsed), a.firstSeen.Compare(b.firstSeen), cmp.Compare(a.id, b.id))
	})
	return out
}

// expired splits unused images into those that have been unused for longer than the
// policy's maxAge and the others. Nothing has expired before the agent itself has
// looked for so long: it cannot know.
func (p imagePolicy) expired(images []unusedImage, began, now time.Time) (old, rest []unusedImage) {
	if p.maxAge <= 0 || now.Sub(began) <= p.maxAge {
		return nil, images
	}
	for _, i := range images {
		since := i.lastUsed
		if since.IsZero() {
			since = i.firstSeen
		}
		if now.Sub(since) > p.maxAge {
			old = append(old, i)
		} else {
			rest = append(rest, i)
		}
	}
	return old, rest
}

// collectable leaves out images that are too young to be removed for their space: a
// container may be about to use them of which nobody here knows. When all must go,
// those that were there before the agent are old enough.
func (p imagePolicy) collectable(images []unusedImage, all bool, now time.Time) []unusedImage {
	var out []unusedImage
	for _, i := range images {
		if now.Sub(i.firstSeen) >= p.minAge || all && i.older {
			out = append(out, i)
		}
	}
	return out
}

// sizeText writes a number of bytes for people.
func sizeText(n uint64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
