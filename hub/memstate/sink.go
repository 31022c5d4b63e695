package memstate

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/hub"
)

// Sink is a hub.Sink in memory.
type Sink struct {
	limits  Limits
	changed func([]hub.Object)

	applying sync.Mutex // one Apply at a time, with its call of changed

	mu      sync.Mutex
	objects map[hub.Key]hub.Object
	bytes   int
}

var _ hub.Sink = (*Sink)(nil)

// NewSink makes an empty Sink. changed, unless nil, is called after objects were applied,
// with those, in order, by one goroutine at a time; the next objects of the session wait
// for it. Deleted is set on those that are gone.
func NewSink(limits Limits, changed func([]hub.Object)) (*Sink, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Sink{limits: limits, changed: changed, objects: make(map[hub.Key]hub.Object)}, nil
}

// Get returns an object, if the Sink holds it.
func (s *Sink) Get(key hub.Key) (hub.Object, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	return o, ok
}

// All yields every object, as of now, in no particular order.
func (s *Sink) All() iter.Seq[hub.Object] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Values(slices.Collect(maps.Values(s.objects)))
}

// Len is how many objects the Sink holds.
func (s *Sink) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects)
}

// Versions yields every key with its version, as of now.
func (s *Sink) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return versions(s.objects), nil
}

// Apply takes the objects, all or none: with an error that is ErrFull it takes none.
func (s *Sink) Apply(_ context.Context, objects []hub.Object) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	if err := s.apply(objects); err != nil {
		return err
	}
	if s.changed != nil {
		s.changed(slices.Clone(objects))
	}
	return nil
}

func (s *Sink) apply(objects []hub.Object) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	count, bytes := len(s.objects), s.bytes
	newest := make(map[hub.Key]hub.Object, len(objects))
	for _, o := range objects {
		newest[o.Key] = o
	}
	for key, o := range newest {
		had, ok := s.objects[key]
		if ok {
			count--
			bytes -= len(had.Body)
		}
		if !o.Deleted {
			count++
			bytes += len(o.Body)
		}
	}
	if err := s.limits.check(count, bytes); err != nil {
		return err
	}
	for key, o := range newest {
		if o.Deleted {
			delete(s.objects, key)
		} else {
			s.objects[key] = o
		}
	}
	s.bytes = bytes
	return nil
}
