package sites

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

const (
	firstPage    = 50               // objects of the first list request
	page         = 500              // of a further one, if they are small
	pageBytes    = 8 << 20          // about as many of JSON in one
	listTimeout  = time.Minute      // of one list request
	watchLife    = 5 * time.Minute  // of one watch, to twice as long
	watchPause   = time.Second      // after a watch that ended at once
	relistEvery  = 30 * time.Second // while objects are left out
	firstBackoff = time.Second
	maxBackoff   = 30 * time.Second
	maxGone      = 20_000 // deletions that are remembered
)

// mirror holds the objects of one plan as nodes get them: JSON without managedFields. client-go's
// reflector has no bound of what it reads; a mirror reads page by page and stops at its limit.
// Methods may be called by several goroutines at once.
type mirror struct {
	client     dynamic.NamespaceableResourceInterface
	namespaces []string
	selector   labels.Selector
	limit      limit
	log        *slog.Logger
	// changed is called after objects changed, read after the first list, and wake after the state
	// changed, with no lock held.
	changed    func([]cache.Name)
	read, wake func()
	cancel     context.CancelFunc // ends run
	synced     chan struct{}      // closed after the first list

	mu       sync.RWMutex
	previous []cache.Name // of an earlier mirror of the EdgeSync, until the first list
	items    map[cache.Name]entry
	bytes    int64
	last     cache.Name            // the last object that was read, if over
	gone     map[cache.Name]string // up to which version an object is known to be deleted
	state    mirrorState
}

// entry is one object as nodes get it.
type entry struct {
	version string
	body    []byte
}

// mirrorState is how far a mirror has come.
type mirrorState struct {
	synced  bool  // all was read once
	over    bool  // objects are left out
	err     error // why nothing is read now; nil while all is well
	objects int
	bytes   int64
}

// errRelist ends the watches of a mirror when all must be read again, which is no fault.
var errRelist = errors.New("sites: list again")

func newMirror(client dynamic.NamespaceableResourceInterface, p *plan, log *slog.Logger) *mirror {
	return &mirror{
		client: client, namespaces: p.namespaces(), selector: p.objects, limit: p.limit, log: log, synced: make(chan struct{}),
		items: make(map[cache.Name]entry), gone: make(map[cache.Name]string), changed: func([]cache.Name) {}, read: func() {}, wake: func() {}, cancel: func() {},
	}
}

// run follows the objects until ctx ends.
func (m *mirror) run(ctx context.Context) {
	backoff := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		versions, over, err := m.list(ctx)
		switch {
		case err == nil && over:
			m.setError(nil)
			backoff = firstBackoff
			leader.Sleep(ctx, relistEvery+rand.N(relistEvery/4))
			continue
		case err == nil:
			err = m.follow(ctx, versions)
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxBackoff {
			backoff = firstBackoff
		}
		if !errors.Is(err, errRelist) {
			m.setError(err)
		}
		leader.Sleep(ctx, backoff/2+rand.N(backoff/2))
		backoff = min(2*backoff, maxBackoff)
	}
}

func nameOf(u *unstructured.Unstructured) cache.Name {
	return cache.Name{Namespace: u.GetNamespace(), Name: u.GetName()}
}

// encode makes the form in which nodes get an object.
func encode(u *unstructured.Unstructured) (entry, error) {
	u.SetManagedFields(nil)
	body, err := json.Marshal(u.Object)
	if err != nil {
		return entry{}, fmt.Errorf("controller/sites: %w", err)
	}
	return entry{version: u.GetResourceVersion(), body: body}, nil
}

// replace sets the objects after a list.
func (m *mirror) replace(fresh map[cache.Name]entry, bytes int64, versions map[string]string, over bool, last cache.Name) {
	m.mu.Lock()
	names := m.previous
	m.previous = nil
	for name, e := range fresh {
		old, had := m.items[name]
		if !had || old.version != e.version {
			names = append(names, name)
		}
		delete(m.gone, name)
	}
	for name := range m.items {
		if _, has := fresh[name]; has {
			continue
		}
		names = append(names, name)
		if version := listVersion(versions, name.Namespace); version != "" && !over {
			m.goneLocked(name, version)
		}
	}
	m.items, m.bytes, m.last = fresh, bytes, last
	first := !m.state.synced
	m.state.synced, m.state.over = true, over
	m.mu.Unlock()
	if first {
		close(m.synced)
		m.read()
	}
	m.changed(names)
	m.wake()
}

// goneLocked remembers that an object is deleted as of a version.
func (m *mirror) goneLocked(name cache.Name, version string) {
	if len(m.gone) >= maxGone {
		clear(m.gone) // whoever asks for one of them reads it from the API server
	}
	m.gone[name] = version
}

// put stores an object. It reports false if there is no room for it.
func (m *mirror) put(u *unstructured.Unstructured) bool {
	name := nameOf(u)
	e, err := encode(u)
	if err != nil {
		m.log.Error("an object of an EdgeSync is left out", "name", name.Name, "err", err)
		return true
	}
	m.mu.Lock()
	old, had := m.items[name]
	bytes := m.bytes + int64(len(e.body)) - int64(len(old.body))
	if bytes > m.limit.bytes || !had && len(m.items) >= m.limit.objects {
		m.mu.Unlock()
		return false
	}
	m.items[name], m.bytes = e, bytes
	delete(m.gone, name)
	m.mu.Unlock()
	m.changed([]cache.Name{name})
	m.wake()
	return true
}

func (m *mirror) remove(name cache.Name, version string) {
	m.mu.Lock()
	m.bytes -= int64(len(m.items[name].body))
	delete(m.items, name)
	m.goneLocked(name, version)
	m.mu.Unlock()
	m.changed([]cache.Name{name})
	m.wake()
}

// setError notes why nothing is read now; nil notes that all is well.
func (m *mirror) setError(err error) {
	m.mu.Lock()
	same := err == nil && m.state.err == nil
	m.state.err = err
	m.mu.Unlock()
	if !same {
		m.wake()
	}
}

func (m *mirror) current() mirrorState {
	m.mu.RLock()
	defer m.mu.RUnlock()
	st := m.state
	st.objects, st.bytes = len(m.items), m.bytes
	return st
}

// names returns the names of all objects, in no order.
func (m *mirror) names() []cache.Name {
	m.mu.RLock()
	defer m.mu.RUnlock()
	all := make([]cache.Name, 0, len(m.items)+len(m.previous))
	for name := range m.items {
		all = append(all, name)
	}
	return append(all, m.previous...)
}

// version returns the version of an object, "" if there is none.
func (m *mirror) version(name cache.Name) string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.items[name].version
}

// The answers of find.
const (
	found   = iota
	deleted // for certain
	unknown // the API server knows
	lagging // nothing was read yet
)

// find returns an object for a node that has version held of it.
func (m *mirror) find(name cache.Name, held string) (entry, int) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if !m.state.synced {
		return entry{}, lagging
	}
	e, ok := m.items[name]
	switch {
	case ok && cache.Compare(held, e.version) <= 0:
		return e, found
	case ok:
		return entry{}, unknown
	}
	if version := m.gone[name]; version != "" && cache.Compare(held, version) <= 0 {
		return entry{}, deleted
	}
	return entry{}, unknown
}

// holds reports whether an object that the API server has is one of the mirror's.
func (m *mirror) holds(u *unstructured.Unstructured) bool {
	if !m.selector.Matches(labels.Set(u.GetLabels())) {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	name := nameOf(u)
	return !m.state.over || strings.Compare(name.Namespace+"/"+name.Name, m.last.Namespace+"/"+m.last.Name) <= 0
}
