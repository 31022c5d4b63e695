package mqtt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Config sets up a Link. Bus and Node are required.
type Config struct {
	Bus  *bus.Bus // runs elsewhere
	Node string   // the edge node's name
	// Protocol has the Link follow only the devices of this protocol, the one of device.Config.
	// Then the mapper gets no messages about others, and its user at the broker needs no right
	// to their credentials. Empty follows all devices of the node.
	//
	// With it, one mapper of several drives the devices of the protocol; see the package comment.
	Protocol string
	// Name is the mapper's name beside other mappers of the protocol: the same after a restart.
	// Empty means the name of the host, which in a pod is that of the pod.
	Name   string
	Resync time.Duration // between two requests for the full list; 0 means 10 min
	Logger *slog.Logger  // nil discards
}

// Link is a device.Link over MQTT. All methods may be called by several
// goroutines at once.
type Link struct {
	cfg Config

	mu      sync.Mutex
	waiting map[string]chan topics.ErrorMessage // by event_id
	silence silence                             // of calls

	waits atomic.Bool // another mapper drives the devices
}

var _ device.Link = (*Link)(nil)

// New checks cfg and makes a Link.
func New(cfg Config) (*Link, error) {
	if cfg.Bus == nil {
		return nil, errors.New("device/mqtt: Config.Bus is required")
	}
	if cfg.Node == "" || strings.ContainsAny(cfg.Node, "/+#\x00") {
		return nil, fmt.Errorf("device/mqtt: Config.Node is %q: it must be the node's name, without slashes and wildcards", cfg.Node)
	}
	if !topics.IsMapperName(cfg.Name) {
		return nil, fmt.Errorf("device/mqtt: Config.Name is %.140q: it must be at most %d bytes of text that can be printed", cfg.Name, topics.MaxMapperName)
	}
	if cfg.Resync < 0 {
		return nil, errors.New("device/mqtt: Config.Resync must not be negative")
	}
	if cfg.Resync == 0 {
		cfg.Resync = 10 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, waiting: make(map[string]chan topics.ErrorMessage)}, nil
}

// Watch follows the node's devices; see device.Link.
func (l *Link) Watch(ctx context.Context, changed func([]device.Instance)) error {
	events := make(chan bus.Message, 64) // full, the subscriptions wait
	forward := func(_ context.Context, m bus.Message) {
		m.Payload = slices.Clone(m.Payload)
		select {
		case events <- m:
		case <-ctx.Done():
		}
	}
	filters := map[string]bus.Handler{
		l.membership(topics.Result(topics.MembershipDetail)):               forward,
		l.membership(topics.MembershipUpdated):                             forward,
		topics.Device(topics.AnyDevice, topics.TwinDocument):               forward,
		topics.Device(topics.AnyDevice, topics.Result(topics.TwinUpdate)):  l.handleAnswer,
		topics.Device(topics.AnyDevice, topics.Result(topics.StateUpdate)): l.handleAnswer,

		topics.Device(topics.AnyDevice, topics.Result(topics.StateConditions)): l.handleAnswer,
	}
	if l.cfg.Protocol != "" {
		filters[l.membership(topics.Result(topics.MembershipClaim))] = forward
	}
	for filter, handler := range filters {
		stop, err := l.cfg.Bus.Subscribe(filter, handler)
		if err != nil {
			return fmt.Errorf("device/mqtt: %w", err)
		}
		defer stop()
	}
	up := make(chan struct{}, 1)
	defer l.cfg.Bus.NotifyConnect(func() {
		select {
		case up <- struct{}{}:
		default:
		}
	})()
	select {
	case <-l.cfg.Bus.Ready():
	case <-ctx.Done():
		return nil
	}
	return l.follow(ctx, events, up, changed)
}

// follow is Watch's loop: it owns the list of devices and the claim.
func (l *Link) follow(ctx context.Context, events <-chan bus.Message, up <-chan struct{}, changed func([]device.Instance)) error {
	resync, renew := time.NewTicker(l.cfg.Resync), time.NewTicker(claimEvery)
	defer resync.Stop()
	defer renew.Stop()
	c := l.newClaim()
	defer l.release(ctx, c)
	l.requestList(ctx)
	l.renew(ctx, c)
	held := 0 // changes since a list that is not passed on, as more wait; 0 is none
	v := view{list: l.membership(topics.Result(topics.MembershipDetail)), updated: l.membership(topics.MembershipUpdated)}
	for {
		before, applied := c.state, false
		select {
		case <-ctx.Done():
			return nil
		case <-up:
			l.requestList(ctx)
			l.renew(ctx, c)
		case <-resync.C:
			l.requestList(ctx)
		case <-renew.C:
			if c.check(time.Now()) {
				l.connectAgain()
			}
			l.renew(ctx, c)
		case m := <-events:
			c.heard()
			if m.Topic == c.result {
				l.applyClaim(ctx, c, m)
				break
			}
			var err error
			if applied, err = v.apply(m); err != nil {
				l.cfg.Logger.Warn("message is ignored", "topic", m.Topic, "err", err)
			}
			if v.missed {
				v.missed = false
				l.requestList(ctx)
			}
			if m.Topic == v.list {
				c.noteList(time.Now())
			}
		}
		l.noteState(before, c)
		if applied || held > 0 || c.state != before {
			held++
		}
		if v.entries == nil || c.state == undecided || held == 0 || (len(events) > 0 && held < cap(events)) {
			continue
		}
		held = 0
		if c.state == drives {
			changed(instances(v.entries))
		} else {
			changed(nil)
		}
	}
}

func instances(entries map[string]*entry) []device.Instance {
	list := make([]device.Instance, 0, len(entries))
	for id, e := range entries {
		dev := device.Instance{ID: id, Spec: e.spec, Model: e.model, Desired: make(map[string]string)}
		for name, value := range e.desired {
			if value.text != "" {
				dev.Desired[name] = value.text
			}
		}
		list = append(list, dev)
	}
	slices.SortFunc(list, func(a, b device.Instance) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// membership returns the topic of an action about the devices that the Link follows.
func (l *Link) membership(action string) string {
	if l.cfg.Protocol != "" {
		action = topics.OfProtocol(l.cfg.Protocol, action)
	}
	return topics.Node(l.cfg.Node, action)
}

// requestList requests the full list.
func (l *Link) requestList(ctx context.Context) {
	m := newHeader()
	if err := l.publish(ctx, l.membership(topics.MembershipDetail), m.EventID, m); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("the list of devices cannot be requested", "err", err)
	}
}

// Report publishes actual values and waits for the answer that they are
// durable.
func (l *Link) Report(ctx context.Context, id string, values map[string]string) error {
	m := topics.TwinUpdateMessage{Header: newHeader(), Twin: make(map[string]*topics.Twin, len(values))}
	for name, text := range values {
		m.Twin[name] = &topics.Twin{Actual: topics.Text(text)}
	}
	return l.call(ctx, topics.Device(id, topics.TwinUpdate), m.EventID, m)
}

// State publishes a device's state and waits for the answer.
func (l *Link) State(ctx context.Context, id, state string) error {
	m := topics.StateUpdateMessage{Header: newHeader(), State: state, Within: device.Within.Milliseconds()}
	return l.call(ctx, topics.Device(id, topics.StateUpdate), m.EventID, m)
}

// newHeader returns the header of a new request.
func newHeader() topics.Header {
	return topics.Header{EventID: uuid.NewString(), Timestamp: time.Now().UnixMilli()}
}

func (l *Link) call(ctx context.Context, topic, id string, m any) error {
	answered := make(chan topics.ErrorMessage, 1)
	l.mu.Lock()
	l.waiting[id] = answered
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if err := l.publish(ctx, topic, id, m); err != nil {
		return fmt.Errorf("device/mqtt: %w", err)
	}
	select {
	case a := <-answered:
		switch {
		case a.Code == 0:
			return nil
		case a.Code >= 500:
			return fmt.Errorf("device/mqtt: %s: code %d: %s", topic, a.Code, a.Reason)
		}
		return fmt.Errorf("device/mqtt: %s: %w: code %d: %s", topic, device.ErrRefused, a.Code, a.Reason)
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			l.missed()
		}
		return fmt.Errorf("device/mqtt: %s: no answer: %w", topic, ctx.Err())
	}
}

// handleAnswer wakes the call that an answer is for, if it is one of ours.
func (l *Link) handleAnswer(_ context.Context, m bus.Message) {
	if id := m.Property("event_id"); id != "" && l.waiter(id) == nil {
		return // another client's; saves the decoding
	}
	var a topics.ErrorMessage
	if err := jsonlimit.Unmarshal(m.Payload, &a); err != nil {
		l.cfg.Logger.Warn("answer is ignored", "topic", m.Topic, "err", err)
		return
	}
	if waiter := l.waiter(a.EventID); waiter != nil {
		l.heard()
		select {
		case waiter <- a:
		default: // a second copy
		}
	}
}

func (l *Link) waiter(id string) chan topics.ErrorMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waiting[id]
}

func (l *Link) publish(ctx context.Context, topic, id string, m any) error {
	payload, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return l.cfg.Bus.Publish(ctx, bus.Message{
		Topic: topic, Payload: payload, QoS: bus.AtLeastOnce,
		Properties: []bus.Property{{Key: "event_id", Value: id}},
	})
}
