package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/wait"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// Object is what a Store can hold: any typed API object.
type Object interface {
	comparable
	metav1.Object
	runtime.Object
}

// Config sets up a Store. ListWatch and Type are required.
type Config[T Object] struct {
	// ListWatch reads the objects.
	ListWatch toolscache.ListerWatcher
	// Type is an empty object of the type that ListWatch gives.
	Type runtime.Object
	// Decode converts an object of ListWatch to a T; nil if it is a T already. An object
	// that cannot be decoded is logged and left out.
	Decode func(runtime.Object) (T, error)
	// Keep decides whether an object belongs into the store; nil keeps all.
	Keep func(T) bool
	// Strip removes unused fields from a new object; managedFields are removed in any case.
	Strip func(T)
	// Same reports that a change does not matter to those who have before. nil means that
	// every change matters.
	Same func(before, after T) bool
	// Packing keeps the objects encoded; nil keeps them as they are. Each look at an object then
	// decodes it, for its caller alone.
	Packing *Packing[T]
	// Logger gets the reflector's messages; nil discards.
	Logger *slog.Logger
}

// Store holds the objects that one list and watch gives, by namespace and
// name. All methods may be called by several goroutines at once, before, while
// and after Run runs.
type Store[T Object] struct {
	guard  runguard.Guard
	cfg    Config[T]
	synced chan struct{}

	mu       sync.RWMutex
	once     sync.Once
	items    map[Name]kept[T]
	onChange []func(Change[T])
}

// Name names an object within its resource.
type Name struct{ Namespace, Name string }

// Item is one object in a store.
type Item[T Object] struct {
	// Object is shared and must not be written to.
	Object T
	// Version is the resource version of the object's last change that
	// matters; it is never newer than the object's own.
	Version string
}

// kept is an object in a store.
type kept[T Object] struct {
	object  T
	packed  []byte // with Config.Packing, instead of object
	current string // the object's own resource version
	version string // Item.Version
}

// Change is one change in a store.
type Change[T Object] struct {
	Name     Name
	Old, New T    // the zero value where there was or is none
	Same     bool // it is a change that does not matter by Config.Same
}

// New checks the configuration and gives an empty Store.
func New[T Object](cfg Config[T]) (*Store[T], error) {
	if cfg.ListWatch == nil || cfg.Type == nil {
		return nil, errors.New("cache: Config.ListWatch and Config.Type are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Store[T]{cfg: cfg, synced: make(chan struct{}), items: make(map[Name]kept[T])}, nil
}

// OnChange calls f after each change, in the order of the changes, from one goroutine and with
// no lock held. Call it before Run. f must return soon, because the next change waits for it.
func (s *Store[T]) OnChange(f func(Change[T])) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onChange = append(s.onChange, f)
}

// Run keeps the store filled until ctx ends, and then returns nil. It may be
// called once.
func (s *Store[T]) Run(ctx context.Context) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	logger := logr.FromSlogHandler(s.cfg.Logger.Handler())
	r := toolscache.NewReflectorWithOptions(s.cfg.ListWatch, s.cfg.Type, (*sink[T])(s), toolscache.ReflectorOptions{
		Logger: &logger,
		Name:   "edgekit",
		// A first failure is often only the node authorizer that has not yet
		// seen the pod which gives a right: try again soon.
		Backoff: &wait.Backoff{Duration: 50 * time.Millisecond, Cap: 30 * time.Second, Steps: 12, Factor: 2, Jitter: 0.5},
	})
	r.RunWithContext(klog.NewContext(ctx, logger))
	return nil
}

// Synced is closed when the store has been filled for the first time.
func (s *Store[T]) Synced() <-chan struct{} { return s.synced }

// WaitSynced waits until all channels are closed, and reports whether they were before ctx ended.
func WaitSynced(ctx context.Context, all ...<-chan struct{}) bool {
	for _, synced := range all {
		select {
		case <-synced:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Load returns the object with that name.
func (s *Store[T]) Load(name Name) (Item[T], bool) {
	s.mu.RLock()
	k, ok := s.items[name]
	s.mu.RUnlock()
	if !ok {
		return Item[T]{}, false
	}
	return s.item(name, k)
}

// Version returns the Item.Version of the object with that name.
func (s *Store[T]) Version(name Name) (string, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	k, ok := s.items[name]
	return k.version, ok
}

// item returns what is kept of an object. It reports false for one that cannot be decoded, which
// would be a fault of Config.Packing.
func (s *Store[T]) item(name Name, k kept[T]) (Item[T], bool) {
	if k.packed != nil {
		object, err := s.cfg.Packing.Unpack(k.packed)
		if err != nil {
			s.cfg.Logger.Error("object in the cache cannot be decoded", "namespace", name.Namespace, "name", name.Name, "err", err)
			return Item[T]{}, false
		}
		k.object = object
	}
	return Item[T]{Object: k.object, Version: k.version}, true
}

// Len returns the number of objects.
func (s *Store[T]) Len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.items)
}

// Names returns the names of all objects, in no order.
func (s *Store[T]) Names() []Name {
	s.mu.RLock()
	defer s.mu.RUnlock()
	names := make([]Name, 0, len(s.items))
	for name := range s.items {
		names = append(names, name)
	}
	return names
}

// Objects returns all objects, in no order. They are shared and must not be written to.
func (s *Store[T]) Objects() []T {
	s.mu.RLock()
	items := maps.Clone(s.items)
	s.mu.RUnlock()
	all := make([]T, 0, len(items))
	for name, k := range items {
		if item, ok := s.item(name, k); ok {
			all = append(all, item.Object)
		}
	}
	return all
}

// LoadFor returns the object with that name for a peer that has version held of it. It reports
// false when the store may lag behind the peer: it lacks the object, or has an older one. A peer
// whose version is newer than the last change that matters gets the object's own version.
func (s *Store[T]) LoadFor(name Name, held string) (Item[T], bool) {
	s.mu.Lock()
	k, ok := s.items[name]
	if !ok || Compare(held, k.current) > 0 {
		s.mu.Unlock()
		return Item[T]{}, false
	}
	if Compare(held, k.version) > 0 {
		k.version = k.current
		s.items[name] = k
	}
	s.mu.Unlock()
	return s.item(name, k)
}

// Compare orders two resource versions as apimachinery does. A version that is
// empty or no resource version is older than every other.
func Compare(a, b string) int {
	if a == b {
		return 0
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	if err == nil {
		return order
	}
	if _, err := resourceversion.CompareResourceVersion(a, "1"); err != nil {
		if _, err := resourceversion.CompareResourceVersion(b, "1"); err != nil {
			return 0
		}
		return -1
	}
	return 1
}

// decode converts an object of the reflector into the form in which it is stored.
func (s *Store[T]) decode(obj any) (T, error) {
	var zero T
	item, ok := obj.(T)
	if !ok {
		raw, isObject := obj.(runtime.Object)
		if !isObject || s.cfg.Decode == nil {
			return zero, fmt.Errorf("cache: unexpected type %T", obj)
		}
		var err error
		if item, err = s.cfg.Decode(raw); err != nil {
			return zero, fmt.Errorf("cache: %w", err)
		}
	}
	item.SetManagedFields(nil)
	if s.cfg.Strip != nil {
		s.cfg.Strip(item)
	}
	return item, nil
}

// put is called by the reflector alone, one object at a time.
func (s *Store[T]) put(obj any) error {
	item, err := s.decode(obj)
	if err != nil {
		// The reflector would end its watch for this: one bad object must
		// not stop all others.
		s.cfg.Logger.Error("object left out", "err", err)
		return nil
	}
	name := Name{Namespace: item.GetNamespace(), Name: item.GetName()}
	if s.cfg.Keep != nil && !s.cfg.Keep(item) {
		s.remove(name)
		return nil
	}
	old, had := s.Load(name)
	change := Change[T]{Name: name, Old: old.Object, New: item}
	now := kept[T]{object: item, current: item.GetResourceVersion(), version: item.GetResourceVersion()}
	if s.cfg.Packing != nil {
		var none T
		if now.packed, err = s.cfg.Packing.Pack(item); err != nil {
			s.cfg.Logger.Error("object is kept as it is", "namespace", name.Namespace, "name", name.Name, "err", err)
		} else {
			now.object = none
		}
	}
	change.Same = had && old.Object.GetUID() == item.GetUID() &&
		(Compare(now.current, old.Object.GetResourceVersion()) == 0 || s.cfg.Same != nil && s.cfg.Same(old.Object, item))
	s.mu.Lock()
	if change.Same {
		now.version = s.items[name].version // LoadFor may have moved it since
	}
	s.items[name] = now
	s.mu.Unlock()
	s.notifyChange(change)
	return nil
}

func (s *Store[T]) remove(name Name) {
	old, had := s.Load(name)
	s.mu.Lock()
	delete(s.items, name)
	s.mu.Unlock()
	if had {
		s.notifyChange(Change[T]{Name: name, Old: old.Object})
	}
}

func (s *Store[T]) replace(list []any) {
	fresh := make(map[Name]bool, len(list))
	for _, obj := range list {
		if o, ok := obj.(metav1.Object); ok {
			fresh[Name{Namespace: o.GetNamespace(), Name: o.GetName()}] = true
		}
		_ = s.put(obj)
	}
	for _, name := range s.Names() {
		if !fresh[name] {
			s.remove(name)
		}
	}
	s.once.Do(func() { close(s.synced) })
}

func (s *Store[T]) notifyChange(change Change[T]) {
	s.mu.RLock()
	onChange := s.onChange
	s.mu.RUnlock()
	for _, f := range onChange {
		f(change)
	}
}

// sink is the Store as the reflector sees it.
type sink[T Object] Store[T]

var _ toolscache.TransformingStore = (*sink[*metav1.PartialObjectMetadata])(nil)

func (s *sink[T]) Add(obj any) error    { return (*Store[T])(s).put(obj) }
func (s *sink[T]) Update(obj any) error { return (*Store[T])(s).put(obj) }

func (s *sink[T]) Delete(obj any) error {
	if gone, ok := obj.(metav1.Object); ok {
		(*Store[T])(s).remove(Name{Namespace: gone.GetNamespace(), Name: gone.GetName()})
	}
	return nil
}

func (s *sink[T]) Replace(list []any, _ string) error {
	(*Store[T])(s).replace(list)
	return nil
}

func (s *sink[T]) Resync() error { return nil }

// Transformer strips objects while the first list streams in, so that its
// peak of memory is that of stripped objects.
func (s *sink[T]) Transformer() toolscache.TransformFunc {
	return func(obj any) (any, error) {
		item, err := (*Store[T])(s).decode(obj)
		if err != nil {
			return obj, nil // put meets the same error and logs it
		}
		return item, nil
	}
}
