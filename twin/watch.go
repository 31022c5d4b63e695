package twin

import (
	"context"
	"slices"
	"sync"
	"time"
)

// DefaultWatchLength is what WatchOptions.Length of 0 means.
const DefaultWatchLength = 256

// WatchOptions say what a Watcher gets. The zero value gets each change of each device.
type WatchOptions struct {
	Devices    []string // only these; none means all
	Namespace  string   // only devices of this namespace; "" means all
	Properties []string // only these; none means all, and the devices themselves
	// Current gives the present state first, and then what changes.
	Current bool
	// Every is the time between two samples: all that has changed since the one before, each
	// property once. 0 gives each change at once.
	Every time.Duration
	// Heartbeat gives a property again, with Change.Repeated, when nothing was given of it
	// for so long. 0 gives only changes.
	Heartbeat time.Duration
	// SuppressEqual leaves out a property that is as it was given last but for timestamps.
	SuppressEqual bool
	// Length is how many changes wait for a slow caller. When there are more, only the newest
	// of each property is kept, and Change.Missed counts the others. 0 means
	// DefaultWatchLength.
	Length int
}

// Change is what a Watcher gives: a property, or with an empty Property.Name a device.
type Change struct {
	Property Property  // with Twin.Deleted for one that is gone; a device has only Device
	State    string    // of the device
	Gone     bool      // the device no longer belongs to the node, and its properties are gone
	Time     time.Time // of the commit
	Missed   int       // changes of the same property that were left out before this one
	Repeated bool      // nothing has changed: WatchOptions.Heartbeat
}

// Watcher gives changes to one caller. Next may be called by one goroutine at a time.
type Watcher struct {
	engine *Engine
	opt    WatchOptions
	stop   func()
	wake   chan struct{} // has one element when there may be something for Next
	closed chan struct{}

	mu     sync.Mutex
	ready  []Change          // for Next
	limit  int               // when ready has more, it is compacted
	sample map[watched]int   // with Every: the place in held of each property
	held   []Change          // with Every: the changes since the last sample
	next   time.Time         // of the next sample
	sent   map[watched]given // with Heartbeat or SuppressEqual
	beat   time.Time         // when to look for heartbeats
}

// watched names a property, or with an empty name a device.
type watched struct{ device, property string }

// given is what was given last of a property.
type given struct {
	twin Twin
	at   time.Time
}

// Watch begins to watch. The changes come in the order of commits, from this moment on; with
// Every, in the order of their first change. Close ends the watch.
func (e *Engine) Watch(o WatchOptions) (*Watcher, error) {
	if o.Every < 0 || o.Heartbeat < 0 || o.Length < 0 {
		return nil, refusal(CodeInvalid, "every, heartbeat and length of a watch must not be negative")
	}
	if o.Length == 0 {
		o.Length = DefaultWatchLength
	}
	w := &Watcher{engine: e, opt: o, wake: make(chan struct{}, 1), closed: make(chan struct{}), limit: o.Length}
	if o.Every > 0 {
		w.sample = make(map[watched]int)
		w.next = e.now().Add(o.Every)
	}
	if o.Heartbeat > 0 || o.SuppressEqual {
		w.sent = make(map[watched]given)
		w.beat = e.now().Add(o.Heartbeat)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	w.stop = e.subscribe(w.commit, e.commits)
	if o.Current {
		now := e.now()
		for _, id := range sortedKeys(e.devices) {
			if d := e.devices[id]; w.wants(id) {
				w.addDevice(d, now)
			}
		}
		w.limit = max(w.limit, len(w.ready)+o.Length)
		w.signal()
	} else if o.Heartbeat > 0 { // what does not change is repeated too
		for id, d := range e.devices {
			for name, t := range d.Twins {
				if w.wants(id) && w.wantsProperty(name) && !t.Deleted {
					w.sent[watched{id, name}] = given{twin: t, at: e.now()}
				}
			}
		}
	}
	return w, nil
}

// Close ends the watch: Next returns ErrClosed. A second Close does nothing.
func (w *Watcher) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.closed:
	default:
		close(w.closed)
		w.stop()
	}
}

// Next returns the next change. It waits for one, until ctx ends (its error), or the watch or
// the engine is closed (ErrClosed).
func (w *Watcher) Next(ctx context.Context) (Change, error) {
	for {
		c, ok, wait := w.take()
		if ok {
			return c, nil
		}
		if err := w.wait(ctx, wait); err != nil {
			return Change{}, err
		}
	}
}

// wait waits until there may be something for take; wait as take returns it.
func (w *Watcher) wait(ctx context.Context, wait time.Duration) error {
	var timer <-chan time.Time
	if wait > 0 {
		t := time.NewTimer(wait)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-w.wake:
		return nil
	case <-timer:
		return nil
	case <-w.closed:
		return ErrClosed
	case <-w.engine.ended:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// take returns the next change that is due, or how long until it is worth looking again; 0
// means only after wake.
func (w *Watcher) take() (c Change, ok bool, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.engine.now()
	if w.opt.Every > 0 && !now.Before(w.next) {
		w.ready = append(w.ready, w.held...)
		w.compact()
		w.held = w.held[:0]
		clear(w.sample)
		w.next = w.next.Add(w.opt.Every)
		if w.next.Before(now) { // the caller was slow
			w.next = now.Add(w.opt.Every)
		}
	}
	if w.opt.Heartbeat > 0 && !now.Before(w.beat) {
		w.repeat(now)
	}
	for len(w.ready) > 0 {
		c, w.ready = w.ready[0], w.ready[1:]
		if w.due(c, now) {
			return c, true, 0
		}
	}
	w.ready = nil
	if w.opt.Every > 0 && len(w.held) > 0 {
		wait = max(w.next.Sub(now), time.Microsecond)
	}
	if w.opt.Heartbeat > 0 {
		if until := max(w.beat.Sub(now), time.Microsecond); wait == 0 || until < wait {
			wait = until
		}
	}
	return Change{}, false, wait
}

// due notes what is given, and reports whether it is to be given.
func (w *Watcher) due(c Change, now time.Time) bool {
	if w.sent == nil || c.Property.Name == "" {
		if c.Gone {
			for k := range w.sent {
				if k.device == c.Property.Device {
					delete(w.sent, k)
				}
			}
		}
		return true
	}
	k := watched{c.Property.Device, c.Property.Name}
	last, known := w.sent[k]
	if w.opt.SuppressEqual && known && !c.Repeated && last.twin.sameButTime(c.Property.Twin) {
		return false
	}
	if c.Property.Twin.Deleted {
		delete(w.sent, k)
	} else {
		w.sent[k] = given{twin: c.Property.Twin, at: now}
	}
	return true
}

// repeat makes ready again what was not given for Heartbeat.
func (w *Watcher) repeat(now time.Time) {
	w.beat = now.Add(w.opt.Heartbeat)
	var late []watched
	for k, g := range w.sent {
		if at := g.at.Add(w.opt.Heartbeat); !at.After(now) {
			late = append(late, k)
		} else if at.Before(w.beat) {
			w.beat = at
		}
	}
	slices.SortFunc(late, func(a, b watched) int {
		return slices.Compare([]string{a.device, a.property}, []string{b.device, b.property})
	})
	for _, k := range late {
		d, _ := w.engine.Device(k.device)
		t, ok := d.Twins[k.property]
		if !ok || t.Deleted {
			delete(w.sent, k) // a Change says so
			continue
		}
		w.ready = append(w.ready, Change{Property: d.property(k.property, t, now), State: d.State, Time: now, Repeated: true})
	}
}

func (w *Watcher) wants(device string) bool {
	return (len(w.opt.Devices) == 0 || slices.Contains(w.opt.Devices, device)) &&
		(w.opt.Namespace == "" || Device{ID: device}.Namespace() == w.opt.Namespace)
}

func (w *Watcher) wantsProperty(name string) bool {
	return len(w.opt.Properties) == 0 || slices.Contains(w.opt.Properties, name)
}

// commit notes what a commit has changed. The engine calls it.
func (w *Watcher) commit(c Commit) {
	if _, read := c.Request.(Read); read || !w.wants(c.Device) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	before := len(w.ready) + len(w.held)
	d, _ := w.engine.Device(c.Device)
	d.ID = c.Device // also if it is gone meanwhile
	for _, effect := range c.Effects {
		switch effect := effect.(type) {
		case Result:
			for _, name := range sortedKeys(effect.Twins) {
				w.addTwin(d, name, effect.Twins[name], c.Time)
			}
		case Document:
			if _, put := c.Request.(Put); put {
				for _, name := range sortedKeys(effect.Twins) {
					w.addTwin(d, name, effect.Twins[name].Current, c.Time)
				}
			}
		case StateResult:
			if _, read := c.Request.(ReadState); !read {
				w.add(Change{Property: Property{Device: c.Device}, State: effect.State, Time: c.Time})
			}
		case Membership:
			if effect.Anew {
				w.add(Change{Property: Property{Device: c.Device}, Gone: true, Time: c.Time})
			}
			w.add(Change{Property: Property{Device: c.Device}, State: effect.Device.State, Gone: effect.Kind == Removed, Time: c.Time})
		}
	}
	if len(w.ready)+len(w.held) > before {
		w.signal()
	}
}

func (w *Watcher) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// addDevice adds the present state of a device.
func (w *Watcher) addDevice(d Device, now time.Time) {
	if len(w.opt.Properties) == 0 {
		w.ready = append(w.ready, Change{Property: Property{Device: d.ID}, State: d.State, Time: now})
	}
	for _, p := range d.Properties(now) {
		if w.wantsProperty(p.Name) {
			w.ready = append(w.ready, Change{Property: p, State: d.State, Time: now})
		}
	}
}

// addTwin adds a property; t is nil if it is gone.
func (w *Watcher) addTwin(d Device, name string, t *Twin, now time.Time) {
	if !w.wantsProperty(name) {
		return
	}
	if t == nil {
		t = &Twin{Deleted: true}
	}
	one := Device{ID: d.ID, State: d.State, Twins: map[string]Twin{name: *t}}
	w.add(Change{Property: one.property(name, *t, now), State: d.State, Time: now})
}

// add adds a change to what waits.
func (w *Watcher) add(c Change) {
	if c.Property.Name == "" && len(w.opt.Properties) > 0 && !c.Gone {
		return
	}
	if w.opt.Every == 0 {
		w.ready = append(w.ready, c)
		w.compact()
		return
	}
	k := watched{c.Property.Device, c.Property.Name}
	if i, ok := w.sample[k]; ok {
		c.Missed = w.held[i].Missed + 1
		w.held[i] = c
		return
	}
	w.sample[k] = len(w.held)
	w.held = append(w.held, c)
}

// compact leaves only the newest change of each property if there are too many. Each change
// is moved once for each Length at the most.
func (w *Watcher) compact() {
	if len(w.ready) <= w.limit {
		return
	}
	missed := make(map[watched]int)
	kept := make([]Change, 0, len(w.ready)/2)
	newest := make(map[watched]int, len(w.ready))
	for i, c := range w.ready {
		k := watched{c.Property.Device, c.Property.Name}
		newest[k] = i
		missed[k] += c.Missed + 1
	}
	for i, c := range w.ready {
		if k := (watched{c.Property.Device, c.Property.Name}); newest[k] == i {
			c.Missed = missed[k] - 1
			kept = append(kept, c)
		}
	}
	w.ready = kept
	w.limit = max(w.opt.Length, 2*len(kept))
}
