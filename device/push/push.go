package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/meta"
)

// Config sets up a Pusher. Link and Store are required.
type Config struct {
	Link        device.Link       // where devices come from, and reports go as well
	Store       meta.Store        // keeps readings until they are sent, under meta.Local + "push/"
	Open        map[string]Opener // by method (MethodHTTP and so on); a method without one is logged and left out
	Secret      Secret            // gives credentials; nil means Environment
	MaxReadings int               // kept for one sink while it is away; 0 means 10,000
	Batch       int               // most readings in one Write; 0 means 100
	Timeout     time.Duration     // for each Write; 0 means 30 s
	Backoff     time.Duration     // before the first retry, doubled up to 64 times that; 0 means 1 s
	Now         func() time.Time  // the clock for the times of readings; nil means time.Now
	Logger      *slog.Logger      // nil discards
}

func (c Config) withDefaults() (Config, error) {
	if c.Link == nil || c.Store == nil {
		return c, errors.New("device/push: Config.Link and Config.Store are required")
	}
	if c.MaxReadings < 0 || c.Batch < 0 || c.Timeout < 0 || c.Backoff < 0 {
		return c, errors.New("device/push: numbers and durations in Config must not be negative")
	}
	if c.MaxReadings == 0 {
		c.MaxReadings = 10_000
	}
	if c.Batch == 0 {
		c.Batch = 100
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	if c.Backoff == 0 {
		c.Backoff = time.Second
	}
	if c.Secret == nil {
		c.Secret = Environment
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// Environment is the Secret of a mapper that has its credentials in its environment:
// METHOD_NAME such as REDIS_PASSWORD, else NAME as with mappers of KubeEdge.
func Environment(method, name string) string {
	name = strings.ToUpper(name)
	if value, ok := os.LookupEnv(strings.ToUpper(method) + "_" + name); ok {
		return value
	}
	return os.Getenv(name)
}

// Stats are figures of a Pusher since it was made, over all sinks.
type Stats struct {
	Sent    int64 // readings that sinks have taken
	Refused int64 // readings that a sink will never take
	Dropped int64 // the oldest readings of a sink that was away for too long
	Lost    int64 // readings that could not be stored
	Waiting int64 // readings that are stored and not sent yet
}

// Pusher is a device.Link that pushes what is reported. It passes conditions, methods and
// proposals on to Config.Link, as far as that one takes them. All methods may be called by
// several goroutines at once; Watch is called once.
type Pusher struct {
	cfg                          Config
	sent, refused, dropped, lost atomic.Int64

	mu     sync.Mutex
	routes map[string]map[string]route // by device and property
	queues map[string]*queue           // by target key
	unsent map[string]map[string]string
	faulty map[string]bool // faults that were logged
}

// route says where the readings of a property go.
type route struct {
	reading Reading // with all but value and time
	queues  []*queue
}

var (
	_ device.ConditionLink = (*Pusher)(nil)
	_ device.MethodLink    = (*Pusher)(nil)
	_ device.ProposalLink  = (*Pusher)(nil)
)

// New checks cfg and allocates a Pusher.
func New(cfg Config) (*Pusher, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Pusher{
		cfg: cfg, routes: make(map[string]map[string]route), queues: make(map[string]*queue),
		unsent: make(map[string]map[string]string), faulty: make(map[string]bool),
	}, nil
}

// Stats returns the figures as they are now.
func (p *Pusher) Stats() Stats {
	s := Stats{Sent: p.sent.Load(), Refused: p.refused.Load(), Dropped: p.dropped.Load(), Lost: p.lost.Load()}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.queues {
		s.Waiting += q.waiting()
	}
	return s
}

// Watch follows the devices of Config.Link, and sends readings meanwhile; see device.Link.
func (p *Pusher) Watch(ctx context.Context, changed func([]device.Instance)) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	working, cancel := context.WithCancel(ctx)
	defer cancel()
	left, err := loadQueues(ctx, p)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("device/push: read readings that are not sent: %w", err)
	}
	for _, q := range left {
		workers.Go(func() { q.run(working) })
	}
	return p.cfg.Link.Watch(ctx, func(list []device.Instance) {
		for _, q := range p.update(ctx, list) {
			workers.Go(func() { q.run(working) })
		}
		changed(list)
	})
}

// update learns where the readings of all devices go, and returns the queues that are new.
func (p *Pusher) update(ctx context.Context, list []device.Instance) (started []*queue) {
	p.mu.Lock()
	defer p.mu.Unlock()
	routes := make(map[string]map[string]route)
	for _, dev := range list {
		for i := range dev.Spec.Properties {
			property := &dev.Spec.Properties[i]
			targets, err := targetsOf(property.PushMethod)
			if err != nil {
				p.faultLocked(dev.ID+"/"+property.Name, "readings are not pushed", "device", dev.ID, "property", property.Name, "err", err)
			}
			r := route{reading: Reading{Device: dev.ID, Property: property.Name}}
			if m := dev.Model.Property(property.Name); m != nil {
				r.reading.Type, r.reading.Unit = m.Type, m.Unit
			}
			for _, t := range targets {
				q, isNew := p.queueLocked(ctx, t)
				if q != nil {
					r.queues = append(r.queues, q)
				}
				if isNew {
					started = append(started, q)
				}
			}
			if len(r.queues) == 0 {
				continue
			}
			if routes[dev.ID] == nil {
				routes[dev.ID] = make(map[string]route)
			}
			routes[dev.ID][property.Name] = r
		}
	}
	p.routes = routes
	return started
}

// queueLocked returns the queue of a target; nil if there is no Opener for it, its settings are
// wrong, or the store fails.
func (p *Pusher) queueLocked(ctx context.Context, t target) (q *queue, isNew bool) {
	if q := p.queues[t.key]; q != nil {
		return q, false
	}
	open := p.cfg.Open[t.method]
	if open == nil {
		p.faultLocked(t.method, "this mapper has no sink for a pushMethod; its readings go to the twin only", "method", t.method)
		return nil, false
	}
	sink, err := open(t.push, p.cfg.Secret)
	if err != nil {
		p.faultLocked(t.key, "a pushMethod is wrong; its readings go to the twin only", "method", t.method, "err", err)
		return nil, false
	}
	q = newQueue(p, t, sink)
	if err := q.load(ctx); err != nil { // new readings must not replace those of an earlier run
		p.faultLocked(t.key, "readings of an earlier run cannot be read; new ones go to the twin only", "method", t.method, "err", errors.Join(err, sink.Close()))
		return nil, false
	}
	if err := q.saveTarget(ctx); err != nil {
		p.faultLocked(t.key, "a pushMethod cannot be stored; after a restart its readings wait for the device", "method", t.method, "err", err)
	}
	p.queues[t.key] = q
	return q, true
}

// faultLocked logs a fault once.
func (p *Pusher) faultLocked(key, msg string, args ...any) {
	if !p.faulty[key] {
		p.faulty[key] = true
		p.cfg.Logger.Warn(msg, args...)
	}
}

// Report stores the values for the sinks, and reports them to Config.Link, whose error it
// returns. A report that is repeated since Config.Link failed is stored once.
func (p *Pusher) Report(ctx context.Context, id string, values map[string]string) error {
	for q, readings := range p.readings(id, values) {
		if err := q.put(ctx, readings); err != nil {
			p.lost.Add(int64(len(readings)))
			p.mu.Lock()
			p.faultLocked("store", "readings cannot be stored and are not pushed; logged once", "err", err)
			p.mu.Unlock()
		}
	}
	err := p.cfg.Link.Report(ctx, id, values)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || errors.Is(err, device.ErrRefused) {
		for property := range values {
			delete(p.unsent[id], property)
		}
		if len(p.unsent[id]) == 0 {
			delete(p.unsent, id)
		}
		return err
	}
	if p.unsent[id] == nil {
		p.unsent[id] = make(map[string]string)
	}
	maps.Copy(p.unsent[id], values)
	return err
}

// readings makes the readings of a report for each queue.
func (p *Pusher) readings(id string, values map[string]string) map[*queue][]Reading {
	now := p.cfg.Now().UnixMilli()
	p.mu.Lock()
	defer p.mu.Unlock()
	routes := p.routes[id]
	if len(routes) == 0 {
		return nil
	}
	out := make(map[*queue][]Reading)
	for property, value := range values {
		if before, ok := p.unsent[id][property]; ok && before == value {
			continue // the report is repeated
		}
		r, ok := routes[property]
		if !ok {
			continue
		}
		r.reading.Value, r.reading.Time = value, now
		for _, q := range r.queues {
			out[q] = append(out[q], r.reading)
		}
	}
	return out
}

// State reports a device's state to Config.Link.
func (p *Pusher) State(ctx context.Context, id, state string) error {
	return p.cfg.Link.State(ctx, id, state)
}

// Conditions reports conditions of a device to Config.Link, if that takes them.
func (p *Pusher) Conditions(ctx context.Context, id string, conditions []device.Condition) error {
	if link, ok := p.cfg.Link.(device.ConditionLink); ok {
		return link.Conditions(ctx, id, conditions)
	}
	return nil
}

// ServeMethods has Config.Link pass calls of methods to handle until ctx ends, if that has any.
func (p *Pusher) ServeMethods(ctx context.Context, handle device.MethodHandler) error {
	if link, ok := p.cfg.Link.(device.MethodLink); ok {
		return link.ServeMethods(ctx, handle)
	}
	<-ctx.Done()
	return nil
}

// Propose hands proposals to Config.Link, if that takes them.
func (p *Pusher) Propose(ctx context.Context, protocol string, proposals []device.Proposal) error {
	if link, ok := p.cfg.Link.(device.ProposalLink); ok {
		return link.Propose(ctx, protocol, proposals)
	}
	return nil
}
