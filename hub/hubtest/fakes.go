package hubtest

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strconv"
	"sync"

	"github.com/edgekit/edgekit/hub"
)

// Source is a hub.Source in memory. Versions are decimal
// numbers. The zero value is empty and ready; all methods may be called by
// several goroutines at once.
type Source struct {
	mu      sync.Mutex
	objects map[hub.Key]hub.Object
	subs    map[int]func(hub.Key)
	nextSub int
	loads   int

	failLoad func(key hub.Key, held string) error
}

// Put sets an object to a version and calls the subscribers.
func (s *Source) Put(key hub.Key, version int, body string) {
	s.set(hub.Object{Key: key, Version: strconv.Itoa(version), Body: []byte(body)})
}

// Delete deletes an object: Load returns it with Deleted set.
func (s *Source) Delete(key hub.Key, version int) {
	s.set(hub.Object{Key: key, Version: strconv.Itoa(version), Deleted: true})
}

func (s *Source) set(o hub.Object) {
	s.mu.Lock()
	if s.objects == nil {
		s.objects = make(map[hub.Key]hub.Object)
	}
	s.objects[o.Key] = o
	subs := slices.Collect(maps.Values(s.subs))
	s.mu.Unlock()
	for _, changed := range subs {
		changed(o.Key)
	}
}

// FailLoad makes Load return the error of f, if f returns one. A nil f ends that.
func (s *Source) FailLoad(f func(key hub.Key, held string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failLoad = f
}

// Loads is how many objects were loaded so far.
func (s *Source) Loads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loads
}

// Versions lists the objects that are not deleted.
func (s *Source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[hub.Key]string, len(s.objects))
	for k, o := range s.objects {
		if !o.Deleted {
			out[k] = o.Version
		}
	}
	return maps.All(out), nil
}

// Load returns the newest version. An object that was never put is deleted.
func (s *Source) Load(_ context.Context, key hub.Key, held string) (hub.Object, error) {
	s.mu.Lock()
	s.loads++
	o, ok := s.objects[key]
	fail := s.failLoad
	s.mu.Unlock()
	if fail != nil {
		if err := fail(key, held); err != nil {
			return hub.Object{}, err
		}
	}
	if !ok {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	return o, nil
}

// Compare orders decimal versions.
func (s *Source) Compare(a, b string) int { return CompareVersions(a, b) }

// CompareVersions orders decimal versions, the empty one first.
func CompareVersions(a, b string) int {
	x, errX := strconv.Atoi(a)
	y, errY := strconv.Atoi(b)
	if errX != nil {
		x = -1
	}
	if errY != nil {
		y = -1
	}
	return x - y
}

// Subscribe calls changed after each Put and Delete.
func (s *Source) Subscribe(changed func(hub.Key)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.subs == nil {
		s.subs = make(map[int]func(hub.Key))
	}
	id := s.nextSub
	s.nextSub++
	s.subs[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, id)
	}
}

// AckedSource is a Source that is also a hub.Acker and forgets what its peer
// has, as an outbox does. The zero value is ready.
type AckedSource struct {
	Source
	amu   sync.Mutex
	acked []hub.Object
}

// Acked forgets the objects that are still at the acked version.
func (s *AckedSource) Acked(_ context.Context, acked []hub.Object) error {
	s.amu.Lock()
	s.acked = append(s.acked, acked...)
	s.amu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range acked {
		if o := s.objects[a.Key]; o.Version == a.Version {
			delete(s.objects, a.Key)
		}
	}
	return nil
}

// Seen is what was acked so far, in order.
func (s *AckedSource) Seen() []hub.Object {
	s.amu.Lock()
	defer s.amu.Unlock()
	return slices.Clone(s.acked)
}

// Sink is a hub.Sink in memory. The zero value is empty and ready; all methods
// may be called by several goroutines at once.
type Sink struct {
	// Forgetful makes Versions list nothing, like a cloud that passes objects on to
	// another system. Set it before use.
	Forgetful bool

	mu      sync.Mutex
	objects map[hub.Key]hub.Object
	log     []hub.Object
	batches int
	fail    func([]hub.Object) error
	changed chan struct{}
}

// Versions lists the objects that the Sink holds.
func (s *Sink) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[hub.Key]string, len(s.objects))
	if !s.Forgetful {
		for k, o := range s.objects {
			out[k] = o.Version
		}
	}
	return maps.All(out), nil
}

// Apply stores the objects, all or none.
func (s *Sink) Apply(_ context.Context, objects []hub.Object) error {
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		if err := fail(objects); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.objects == nil {
		s.objects = make(map[hub.Key]hub.Object)
	}
	for _, o := range objects {
		if s.log = append(s.log, o); o.Deleted {
			delete(s.objects, o.Key)
		} else {
			s.objects[o.Key] = o
		}
	}
	s.batches++
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	return nil
}

// FailApply makes Apply return the error of f, if f returns one. A nil f ends that.
func (s *Sink) FailApply(f func([]hub.Object) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Log is every object that was applied, in order.
func (s *Sink) Log() []hub.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// Batches is how often Apply succeeded.
func (s *Sink) Batches() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches
}

// Held is the version held for a key, or empty.
func (s *Sink) Held(key hub.Key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].Version
}

// Len is how many objects are held.
func (s *Sink) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects)
}

// Wait returns when cond holds, which is asked now and after each Apply, or
// when ctx ends. cond may call the Sink's methods.
func (s *Sink) Wait(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Directory is a hub.Directory in memory: it accepts every node, with a Source, a Sink,
// an Inbox and an Outbox of its own. The zero value is ready; all methods may be called
// by several goroutines at once.
type Directory struct {
	// Claims is shared with other servers' Directories; nil for one server. Set
	// it before use.
	Claims *Claims

	mu     sync.Mutex
	refuse func(hub.Hello) error
	downs  map[string]*Source
	ups    map[string]*Sink
	boxes  map[string]boxes
	infos  []hub.Info
	twice  []hub.Duplicate
}

// Refuse calls f for each new session; an error of f refuses it. A nil f ends that.
func (d *Directory) Refuse(f func(hub.Hello) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refuse = f
}

// Attach accepts a node, unless the function of Refuse refuses it.
func (d *Directory) Attach(_ context.Context, h hub.Hello) (hub.Node, error) {
	d.mu.Lock()
	refuse := d.refuse
	d.mu.Unlock()
	if refuse != nil {
		if err := refuse(h); err != nil {
			return hub.Node{}, err
		}
	}
	node := hub.Node{
		Down: d.Down(h.Node), Up: d.Up(h.Node), Inbox: d.Inbox(h.Node), Outbox: d.Outbox(h.Node), Connected: d.note,
		Duplicate: func(_ context.Context, twice hub.Duplicate) {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.twice = append(d.twice, twice)
		},
	}
	if d.Claims != nil {
		node.Claim = d.Claims.claim(h.Node)
	}
	return node, nil
}

// Duplicates are the programs that were refused since another had the node, in
// the order in which they came.
func (d *Directory) Duplicates() []hub.Duplicate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.twice)
}

// Down is the Source of what the node must hold.
func (d *Directory) Down(node string) *Source {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.downs == nil {
		d.downs = make(map[string]*Source)
	}
	if d.downs[node] == nil {
		d.downs[node] = &Source{}
	}
	return d.downs[node]
}

// Up is the Sink of what the node reported; it is Forgetful.
func (d *Directory) Up(node string) *Sink {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ups == nil {
		d.ups = make(map[string]*Sink)
	}
	if d.ups[node] == nil {
		d.ups[node] = &Sink{Forgetful: true}
	}
	return d.ups[node]
}

type boxes struct {
	in  *Inbox
	out *Outbox
}

// Inbox has the events that the node sent.
func (d *Directory) Inbox(node string) *Inbox { return d.boxesOf(node).in }

// Outbox has the events for the node.
func (d *Directory) Outbox(node string) *Outbox { return d.boxesOf(node).out }

func (d *Directory) boxesOf(node string) boxes {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boxes == nil {
		d.boxes = make(map[string]boxes)
	}
	b, ok := d.boxes[node]
	if !ok {
		b = boxes{&Inbox{}, &Outbox{}}
		d.boxes[node] = b
	}
	return b
}

// Infos is every client info that was published, in order.
func (d *Directory) Infos() []hub.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.infos)
}

func (d *Directory) note(i hub.Info) {
	if d.Claims != nil && !i.Connected {
		d.Claims.endSession(i.Node, i.Epoch, i.Since)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.infos = append(d.infos, i)
}
