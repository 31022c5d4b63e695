package devicesync

import (
	"sync"

	"github.com/edgekit/edgekit/twin"
)

// dirty is the set of devices whose report may have to change.
type dirty struct {
	mu   *sync.Mutex
	ids  map[string]struct{}
	wake chan struct{} // holds a value while ids is not empty, or the link came or went
}

func newDirty() dirty {
	return dirty{mu: new(sync.Mutex), ids: make(map[string]struct{}), wake: make(chan struct{}, 1)}
}

func (d dirty) add(id string) {
	d.mu.Lock()
	d.ids[id] = struct{}{}
	d.mu.Unlock()
	d.poke()
}

// poke has the set looked at.
func (d dirty) poke() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take empties the set.
func (d dirty) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	ids := make([]string, 0, len(d.ids))
	for id := range d.ids {
		ids = append(ids, id)
	}
	clear(d.ids)
	return ids
}

// observe notes the devices that a commit concerns.
func (s *Syncer) observe(c twin.Commit) {
	for _, effect := range c.Effects {
		switch effect.(type) {
		case twin.Report, twin.Membership:
			s.dirty.add(c.Device)
			return
		}
	}
}
