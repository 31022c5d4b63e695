package memstate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// ErrFull is returned, and wrapped, when the limit on objects or bytes is reached.
// Remedy: delete something, or raise the limit.
var ErrFull = errors.New("memstate: full")

const (
	defaultMaxObjects = 10_000
	defaultMaxBytes   = 64 << 20
)

// Limits bound a Source or a Sink. The zero value means the defaults.
type Limits struct {
	Objects int // 0 means 10,000
	Bytes   int // of all bodies together; 0 means 64 MiB
}

func (l Limits) withDefaults() (Limits, error) {
	if l.Objects < 0 || l.Bytes < 0 {
		return l, errors.New("memstate: a limit is negative: leave it 0 for the default")
	}
	if l.Objects == 0 {
		l.Objects = defaultMaxObjects
	}
	if l.Bytes == 0 {
		l.Bytes = defaultMaxBytes
	}
	return l, nil
}

// check returns an error for so many objects and bytes if that is more than the limit.
func (l Limits) check(objects, bytes int) error {
	switch {
	case objects > l.Objects:
		return fmt.Errorf("%w: %d objects where %d are allowed", ErrFull, objects, l.Objects)
	case bytes > l.Bytes:
		return fmt.Errorf("%w: %d bytes where %d are allowed", ErrFull, bytes, l.Bytes)
	}
	return nil
}

// Source is a hub.Source in memory.
type Source struct {
	limits Limits

	mu       sync.Mutex
	objects  map[hub.Key]hub.Object
	bytes    int
	last     int64 // the newest version, in microseconds since 1970
	watchers map[int]func(hub.Key)
	nextID   int
}

var _ hub.Source = (*Source)(nil)

// NewSource makes an empty Source.
func NewSource(limits Limits) (*Source, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Source{limits: limits, objects: make(map[hub.Key]hub.Object), watchers: make(map[int]func(hub.Key))}, nil
}

// Put sets the body of an object and sends it to the peer of every session that has this
// Source. A body that is the same as before is sent too.
func (s *Source) Put(key hub.Key, body []byte) error {
	s.mu.Lock()
	had, replaces := s.objects[key]
	objects, bytes := len(s.objects), s.bytes+len(body)-len(had.Body)
	if !replaces {
		objects++
	}
	if err := s.limits.check(objects, bytes); err != nil {
		s.mu.Unlock()
		return err
	}
	s.last = max(s.last+1, time.Now().UnixMicro())
	s.objects[key] = hub.Object{Key: key, Version: strconv.FormatInt(s.last, 10), Body: body}
	s.bytes = bytes
	s.notifyAndUnlock(key)
	return nil
}

// Delete removes an object, here and at the peer. An object that does not exist is no
// error.
func (s *Source) Delete(key hub.Key) {
	s.mu.Lock()
	had, ok := s.objects[key]
	if !ok {
		s.mu.Unlock()
		return
	}
	delete(s.objects, key)
	s.bytes -= len(had.Body)
	s.notifyAndUnlock(key)
}

// notifyAndUnlock calls the subscribers without the lock, as the contract of hub.Source
// demands.
func (s *Source) notifyAndUnlock(key hub.Key) {
	watchers := slices.Collect(maps.Values(s.watchers))
	s.mu.Unlock()
	for _, changed := range watchers {
		changed(key)
	}
}

// Versions yields every key with its version, as of now.
func (s *Source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return versions(s.objects), nil
}

// versions copies the versions, so that the lock need not be held while they are read.
func versions(objects map[hub.Key]hub.Object) iter.Seq2[hub.Key, string] {
	out := make(map[hub.Key]string, len(objects))
	for k, o := range objects {
		out[k] = o.Version
	}
	return maps.All(out)
}

// Load returns the object as it is now. A key that the Source does not have is deleted.
func (s *Source) Load(_ context.Context, key hub.Key, _ string) (hub.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.objects[key]; ok {
		return o, nil
	}
	return hub.Object{Key: key, Deleted: true}, nil
}

// Compare orders two versions as numbers. An unparsable version sorts before every other.
func (s *Source) Compare(a, b string) int {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	switch {
	case errX != nil && errY != nil:
		return 0
	case errX != nil:
		return -1
	case errY != nil:
		return 1
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

// Subscribe has changed called after each Put and Delete, until stop is called.
func (s *Source) Subscribe(changed func(hub.Key)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextID
	s.nextID++
	s.watchers[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers, id)
	}
}
