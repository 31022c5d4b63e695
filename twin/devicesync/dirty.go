package devicesync

import (
	"sync"

	"github.com/edgekit/edgekit/twin"
)

// dirty is the set of devices whose report may have changed.
type dirty struct {
	mu   *sync.Mutex
	ids  map[string]struct{}
	wake chan struct{} // holds a value while ids is not empty, or after the link changed
}

func newDirty() dirty {
	return dirty{mu: new(sync.Mutex), ids: make(map[string]struct{}), wake: make(chan struct{}, 1)}
}

func (d dirty) add(id string) {
	d.mu.Lock()
	d.ids[id] = struct{}{}
	d.mu.Unlock()
	d.wakeUp()
}

// wakeUp wakes the reader of the set.
func (d dirty) wakeUp() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// takeAll empties the set and returns what it held.
func (d dirty) takeAll() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]string, 0, len(d.ids))
	for id := range d.ids {
		ids = append(ids, id)
	}
	clear(d.ids)
	return ids
}

// markDirty adds the device of a commit that changes its report.
func (s *Syncer) markDirty(c twin.Commit) {
	for _, effect := range c.Effects {
		switch effect.(type) {
		case twin.Report, twin.Membership:
			s.dirty.add(c.Device)
			return
		}
	}
}
