package pipelinetest

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// feed passes values to readers, one at a time.
type feed[T any] struct {
	mu      sync.Mutex
	readers map[chan T]struct{}
}

// send gives v to all readers and waits until they have it.
func (f *feed[T]) send(v T) {
	f.mu.Lock()
	readers := make([]chan T, 0, len(f.readers))
	for r := range f.readers {
		readers = append(readers, r)
	}
	f.mu.Unlock()
	for _, r := range readers {
		r <- v
	}
}

// read calls handle with each value until ctx ends.
func (f *feed[T]) read(ctx context.Context, handle func(T) error) error {
	in := make(chan T)
	f.mu.Lock()
	if f.readers == nil {
		f.readers = make(map[chan T]struct{})
	}
	f.readers[in] = struct{}{}
	f.mu.Unlock()
	defer func() {
		gone := make(chan struct{})
		var drain sync.WaitGroup
		drain.Go(func() {
			for {
				select {
				case <-in: // a sender that waits
				case <-gone:
					return
				}
			}
		})
		f.mu.Lock()
		delete(f.readers, in)
		f.mu.Unlock()
		close(gone)
		drain.Wait()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-in:
			if err := handle(v); err != nil {
				return err
			}
		}
	}
}

// Broker keeps what is published and passes it to consumers whose filter matches. The zero
// value is ready.
type Broker struct {
	feed feed[bus.Message]

	mu        sync.Mutex
	published []bus.Message
	acks      int
	err       error
}

var _ pipeline.Broker = (*Broker)(nil)

// Fail makes Publish fail until it is called with nil.
func (b *Broker) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// Publish keeps a message and gives it to consumers.
func (b *Broker) Publish(_ context.Context, m bus.Message) error {
	m.Payload = slices.Clone(m.Payload)
	b.mu.Lock()
	err := b.err
	if err == nil {
		b.published = append(b.published, m)
	}
	b.mu.Unlock()
	if err == nil {
		b.feed.send(m)
	}
	return err
}

// Published returns what was published.
func (b *Broker) Published() []bus.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.published)
}

// Acks returns how many messages consumers have acknowledged.
func (b *Broker) Acks() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.acks
}

// Consume calls handle with messages.
func (b *Broker) Consume(ctx context.Context, _ string, sub pipeline.Subscription, handle func(ctx context.Context, m bus.Message, ack func()) error) error {
	return b.feed.read(ctx, func(m bus.Message) error {
		if !bus.Match(sub.Filter, m.Topic) {
			return nil
		}
		return handle(ctx, m, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.acks++
		})
	})
}

// Twins hold values. The zero value is ready.
type Twins struct {
	feed feed[pipeline.TwinValue]

	mu       sync.Mutex
	reported map[string]pipeline.TwinValue
	desired  map[string]any
	err      error
}

var _ pipeline.Twins = (*Twins)(nil)

// Fail makes SetDesired fail until it is called with nil.
func (t *Twins) Fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = err
}

// Report sets a reported value and gives it to watchers.
func (t *Twins) Report(v pipeline.TwinValue) {
	t.mu.Lock()
	if t.reported == nil {
		t.reported = make(map[string]pipeline.TwinValue)
	}
	t.reported[v.Device+"/"+v.Property] = v
	t.mu.Unlock()
	t.feed.send(v)
}

// Reported returns a reported value.
func (t *Twins) Reported(device, property string) (pipeline.TwinValue, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.reported[device+"/"+property]
	return v, ok
}

// Watch calls handle with reported values; it does not look at labels.
func (t *Twins) Watch(ctx context.Context, which v1alpha1.TwinSource, handle func(ctx context.Context, v pipeline.TwinValue) error) error {
	wants := func(v pipeline.TwinValue) bool {
		return (len(which.Devices) == 0 || slices.Contains(which.Devices, v.Device)) &&
			(len(which.Properties) == 0 || slices.Contains(which.Properties, v.Property))
	}
	t.mu.Lock()
	var first []pipeline.TwinValue
	for _, v := range t.reported {
		first = append(first, v)
	}
	t.mu.Unlock()
	for _, v := range first {
		if wants(v) {
			if err := handle(ctx, v); err != nil {
				return err
			}
		}
	}
	return t.feed.read(ctx, func(v pipeline.TwinValue) error {
		if !wants(v) {
			return nil
		}
		return handle(ctx, v)
	})
}

// SetDesired sets a desired value.
func (t *Twins) SetDesired(_ context.Context, device, property string, value any) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return t.err
	}
	if t.desired == nil {
		t.desired = make(map[string]any)
	}
	t.desired[device+"/"+property] = value
	return nil
}

// Desired returns a desired value.
func (t *Twins) Desired(device, property string) (any, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.desired[device+"/"+property]
	return v, ok
}

// Cloud keeps what is sent. The zero value is ready.
type Cloud struct {
	mu   sync.Mutex
	sent map[string][]pipeline.Event
	err  error
}

var _ pipeline.Cloud = (*Cloud)(nil)

// Fail makes Send fail until it is called with nil.
func (c *Cloud) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Send keeps events.
func (c *Cloud) Send(_ context.Context, _ pipeline.Ref, _, url string, events []pipeline.Event) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	if c.sent == nil {
		c.sent = make(map[string][]pipeline.Event)
	}
	c.sent[url] = append(c.sent[url], events...)
	return nil
}

// Sent returns what was sent to a URL.
func (c *Cloud) Sent(url string) []pipeline.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sent[url])
}

// ContainerLogs pass lines to followers. The zero value is ready.
type ContainerLogs struct {
	feed feed[pipeline.LogLine]

	mu   sync.Mutex
	done int
}

var _ pipeline.ContainerLogs = (*ContainerLogs)(nil)

// Write gives a line to followers.
func (c *ContainerLogs) Write(l pipeline.LogLine) { c.feed.send(l) }

// Done returns how many lines followers are done with.
func (c *ContainerLogs) Done() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

// Follow calls handle with lines; it does not look at labels.
func (c *ContainerLogs) Follow(ctx context.Context, _ string, which v1alpha1.ContainerLogsSource, handle func(ctx context.Context, l pipeline.LogLine, done func()) error) error {
	return c.feed.read(ctx, func(l pipeline.LogLine) error {
		if which.Namespace != "" && l.Namespace != which.Namespace || which.Container != "" && l.Container != which.Container {
			return nil
		}
		return handle(ctx, l, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.done++
		})
	})
}

// Handlers is an http.Handler that serves the paths that were given to Handle. The zero
// value is ready.
type Handlers struct {
	mu    sync.Mutex
	paths map[string]http.Handler
}

var _ pipeline.Handlers = (*Handlers)(nil)

// Handle serves a path.
func (h *Handlers) Handle(path string, handler http.Handler) (stop func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paths[path] != nil {
		return nil, fmt.Errorf("pipelinetest: the path %s is taken", path)
	}
	if h.paths == nil {
		h.paths = make(map[string]http.Handler)
	}
	h.paths[path] = handler
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.paths, path)
	}, nil
}

// ServeHTTP serves a request.
func (h *Handlers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	handler := h.paths[r.URL.Path]
	h.mu.Unlock()
	if handler == nil {
		http.NotFound(w, r)
		return
	}
	handler.ServeHTTP(w, r)
}

// Clock is a clock that stands until Advance is called.
type Clock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*timer
}

var _ pipeline.Clock = (*Clock)(nil)

// NewClock returns a Clock at a time.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the time on and fires the timers that are due, the first due first.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	slices.SortStableFunc(c.timers, func(a, b *timer) int { return a.at.Compare(b.at) })
	for _, t := range slices.Clone(c.timers) {
		if !t.at.After(c.now) {
			c.fireLocked(t)
		}
	}
}

func (c *Clock) fireLocked(t *timer) {
	c.removeLocked(t)
	select {
	case t.c <- c.now:
	default:
	}
}

func (c *Clock) removeLocked(t *timer) bool {
	i := slices.Index(c.timers, t)
	if i >= 0 {
		c.timers = slices.Delete(c.timers, i, i+1)
	}
	return i >= 0
}

// NewTimer returns a timer of the clock.
func (c *Clock) NewTimer(d time.Duration) pipeline.Timer {
	t := &timer{clock: c, c: make(chan time.Time, 1)}
	t.Reset(d)
	return t
}

type timer struct {
	clock *Clock
	c     chan time.Time
	at    time.Time
}

func (t *timer) C() <-chan time.Time { return t.c }

func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stopLocked()
}

func (t *timer) stopLocked() bool {
	was := t.clock.removeLocked(t)
	select {
	case <-t.c:
	default:
	}
	return was
}

func (t *timer) Reset(d time.Duration) bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	was := t.stopLocked()
	t.at = t.clock.now.Add(d)
	if d <= 0 {
		t.clock.fireLocked(t)
	} else {
		t.clock.timers = append(t.clock.timers, t)
	}
	return was
}
