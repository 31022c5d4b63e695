package twins

import (
	"container/list"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Report is what is known of one device.
type Report struct {
	Namespace, Name string
	UID             types.UID         // of the Device
	Labels          map[string]string // of the Device; nobody changes them
	Created         metav1.Time       // the Device
	Node            string            // that reported
	Status          []byte            // JSON of a v1beta1.DeviceStatusStatus; nobody changes it
	Received        time.Time         // zero if it was read from the DeviceStatus
}

// StoreConfig sets up a Store.
type StoreConfig struct {
	MaxBytes int // of all reports together; 0 means 256 MiB
}

// Store holds the newest report of each device. Its methods return at once.
type Store struct {
	maxBytes int

	mu      sync.Mutex
	version uint64
	bytes   int
	of      map[name]*entry
	order   *list.List // of *entry, by version
	gone    []tombstone
	lost    uint64        // deletions up to it are forgotten
	changed chan struct{} // closed at the next change
}

type name struct{ namespace, name string }

// entry is a device in the store. Nobody writes to its report.
type entry struct {
	report    Report
	truncated bool
	version   uint64
	created   uint64 // the version at which the device came
	at        *list.Element
}

// tombstone is a device that was deleted.
type tombstone struct {
	report  Report
	version uint64
}

// maxGone is how many deletions are remembered.
const maxGone = 4096

// NewStore makes an empty Store.
func NewStore(cfg StoreConfig) (*Store, error) {
	if cfg.MaxBytes < 0 {
		return nil, fmt.Errorf("twins: StoreConfig.MaxBytes is %d: leave it 0 for the default", cfg.MaxBytes)
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 256 << 20
	}
	// Versions of a later run are larger, unless the clock went back.
	start := uint64(time.Now().UnixMicro())
	return &Store{
		maxBytes: cfg.MaxBytes, version: start, lost: start,
		of: make(map[name]*entry), order: list.New(), changed: make(chan struct{}),
	}, nil
}

// Put keeps a report in place of the device's last one.
func (s *Store) Put(r Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := name{r.Namespace, r.Name}
	s.version++
	next := &entry{report: r, version: s.version, created: s.version}
	if old := s.of[n]; old != nil {
		next.created = old.created
		s.bytes -= len(old.report.Status)
		s.order.Remove(old.at)
	}
	if s.bytes+len(r.Status) > s.maxBytes {
		next.truncated, next.report.Status = true, nil
	}
	s.bytes += len(next.report.Status)
	next.at = s.order.PushBack(next)
	s.of[n] = next
	s.notifyLocked()
}

// Delete forgets a device.
func (s *Store) Delete(namespace, device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := name{namespace, device}
	old := s.of[n]
	if old == nil {
		return
	}
	s.bytes -= len(old.report.Status)
	s.order.Remove(old.at)
	delete(s.of, n)
	s.version++
	if len(s.gone) == maxGone {
		s.lost = s.gone[0].version
		s.gone = append(s.gone[:0], s.gone[1:]...)
	}
	gone := old.report
	gone.Status = nil
	s.gone = append(s.gone, tombstone{gone, s.version})
	s.notifyLocked()
}

func (s *Store) notifyLocked() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// load returns one device.
func (s *Store) load(n name) (*entry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.of[n]
	return e, ok
}

// snapshot returns the devices of a namespace, or all, and the version at which they are so.
func (s *Store) snapshot(namespace string) (all []*entry, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, e := range s.of {
		if namespace == "" || n.namespace == namespace {
			all = append(all, e)
		}
	}
	return all, s.version
}

// since returns what changed after a version, in order, the version that this leads to, and a
// channel that is closed at the next change. ok is false for a version from which no watch can
// begin: of another run, or older than a forgotten deletion.
func (s *Store) since(version uint64, namespace string) (changed []*entry, gone []tombstone, now uint64, wake <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.knownLocked(version) {
		return nil, nil, 0, nil, false
	}
	for at := s.order.Back(); at != nil; at = at.Prev() {
		e := at.Value.(*entry)
		if e.version <= version {
			break
		}
		if namespace == "" || e.report.Namespace == namespace {
			changed = append(changed, e)
		}
	}
	slices.Reverse(changed)
	for i := len(s.gone) - 1; i >= 0 && s.gone[i].version > version; i-- {
		if t := s.gone[i]; namespace == "" || t.report.Namespace == namespace {
			gone = append(gone, t)
		}
	}
	slices.Reverse(gone)
	return changed, gone, s.version, s.changed, true
}

// known reports whether a watch can begin at a version.
func (s *Store) known(version uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.knownLocked(version)
}

func (s *Store) knownLocked(version uint64) bool { return version >= s.lost && version <= s.version }

func text(version uint64) string { return strconv.FormatUint(version, 10) }
