package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// origin marks the engine calls that are answered here.
const origin = "mqtt"

// queueLength is the number of commits and answers that may wait to be
// published.
const queueLength = 1024

// Config sets up a Joiner. Engine, Bus and Node are required.
type Config struct {
	Engine *twin.Engine
	Bus    *bus.Bus
	Node   string           // the node's name, one level of a topic
	Now    func() time.Time // the clock for timestamps of answers that the engine has no part in; nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Joiner is the twin engine's face on MQTT. It has no methods that need care
// about goroutines.
type Joiner struct {
	cfg     Config
	out     chan any // twin.Commit, reply or listRequest, in the order of publishing
	started atomic.Bool
	dropped atomic.Int64
	faults  loglimit.Limiter
}

// warn logs what may be wrong for long, or be made wrong by any client: a few
// lines of it, and how many were left out.
func (j *Joiner) warn(msg string, args ...any) {
	if skipped, ok := j.faults.Allow(); ok {
		j.cfg.Logger.Warn(msg, append(args, "skipped", skipped)...)
	}
}

// reply is an answer that needs no commit.
type reply struct {
	topic string
	id    string
	body  stamped
}

// listRequest asks for a list of devices.
type listRequest struct {
	detail bool
	id     string // the requester's event_id; empty makes a new one
}

// New checks cfg and allocates a Joiner.
func New(cfg Config) (*Joiner, error) {
	if cfg.Engine == nil || cfg.Bus == nil {
		return nil, errors.New("twin/mqtt: Config.Engine and Config.Bus are required")
	}
	if cfg.Node == "" || strings.ContainsAny(cfg.Node, "/+#\x00") {
		return nil, fmt.Errorf("twin/mqtt: Config.Node is %q: it must be the node's name, without slashes and wildcards", cfg.Node)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return &Joiner{cfg: cfg, out: make(chan any, queueLength)}, nil
}

// Dropped is the number of requests since the start whose topic named no
// device, so that they could not be answered.
func (j *Joiner) Dropped() int64 { return j.dropped.Load() }

// Run answers and publishes until ctx ends. The engine and the bus may start
// before or after it. It may be called once.
func (j *Joiner) Run(ctx context.Context) error {
	if j.started.Swap(true) {
		return errors.New("twin/mqtt: Run was called before")
	}
	defer j.cfg.Engine.Subscribe(func(c twin.Commit) { j.enqueue(ctx, c) })()
	filters := map[string]func(context.Context, bus.Message){
		twinFilter:                              j.handleDevice,
		stateFilter:                             j.handleDevice,
		nodeTopic(j.cfg.Node, "membership/get"): j.handleMembership,
		nodeTopic(j.cfg.Node, "membership/detail"): j.handleMembership,
	}
	for filter, handler := range filters {
		stop, err := j.cfg.Bus.Subscribe(filter, handler)
		if errors.Is(err, bus.ErrNotRunning) && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("twin/mqtt: %w", err)
		}
		defer stop()
	}
	up := make(chan struct{}, 1)
	defer j.cfg.Bus.NotifyConnect(func() {
		select {
		case up <- struct{}{}:
		default:
		}
	})()
	var announcer sync.WaitGroup
	announcer.Go(func() { j.announce(ctx, up) })
	defer announcer.Wait()
	return j.publish(ctx)
}

// announce publishes all devices when everything is up, and again whenever a
// broker has come back.
func (j *Joiner) announce(ctx context.Context, up <-chan struct{}) {
	for _, ready := range []<-chan struct{}{j.cfg.Engine.Ready(), j.cfg.Bus.Ready()} {
		select {
		case <-ready:
		case <-ctx.Done():
			return
		}
	}
	select {
	case <-up: // the connection that made the bus ready
	default:
	}
	for {
		j.enqueue(ctx, listRequest{detail: true})
		select {
		case <-up:
		case <-ctx.Done():
			return
		}
	}
}

func (j *Joiner) enqueue(ctx context.Context, item any) {
	select {
	case j.out <- item:
	case <-ctx.Done():
	}
}

// handleDevice takes one request to a device.
func (j *Joiner) handleDevice(ctx context.Context, m bus.Message) {
	device, action, ok := parseDevice(m.Topic)
	if !ok {
		j.dropped.Add(1)
		j.warn("MQTT request names no device", "topic", m.Topic)
		return
	}
	request, id, err := decodeRequest(action, m.Payload)
	if id == "" {
		id = m.Property("event_id")
	}
	if err != nil {
		j.enqueue(ctx, reply{
			topic: deviceTopic(device, resultOf(action)), id: id,
			body: &errorMessage{Code: twin.CodeInvalid, Reason: err.Error()},
		})
		return
	}
	if request == nil {
		return // not ours: other verbs on the same level
	}
	err = j.cfg.Engine.Submit(ctx, twin.Call{Device: device, Request: request, Origin: origin, EventID: id})
	if err != nil && ctx.Err() == nil {
		j.cfg.Logger.Warn("MQTT request is lost: the twin engine has ended", "topic", m.Topic, "error", err)
	}
}

// decodeRequest gives nil for an action that is not a request, and the
// event_id as far as it can be read.
func decodeRequest(action string, payload []byte) (r twin.Request, id string, err error) {
	switch action {
	case "twin/update":
		patches, id, err := decodeUpdate(payload)
		return twin.Update{Twins: patches}, id, err
	case "twin/cloud_updated":
		patches, id, err := decodeUpdate(payload)
		return twin.Sync{Twins: patches}, id, err
	case "twin/get":
		return twin.Read{}, eventID(payload), nil
	case "state/update":
		state, id, err := decodeState(payload)
		return twin.SetState{State: state}, id, err
	case "state/get":
		return twin.ReadState{}, eventID(payload), nil
	}
	return nil, "", nil
}

// resultOf names the topic of an action's answer below its device.
func resultOf(action string) string {
	if action == "twin/cloud_updated" {
		action = "twin/update"
	}
	return action + "/result"
}

func (j *Joiner) handleMembership(ctx context.Context, m bus.Message) {
	id := eventID(m.Payload)
	if id == "" {
		id = m.Property("event_id")
	}
	j.enqueue(ctx, listRequest{detail: strings.HasSuffix(m.Topic, "/detail"), id: id})
}

// publish sends what the queue holds, in order, until ctx ends. Lists that
// nobody asked for wait until the queue is empty, so that many new devices
// make one list.
func (j *Joiner) publish(ctx context.Context) error {
	owed := false
	for {
		if owed && len(j.out) == 0 {
			owed = false
			j.list(ctx, listRequest{detail: true})
		}
		select {
		case <-ctx.Done():
			return nil
		case item := <-j.out:
			switch item := item.(type) {
			case twin.Commit:
				owed = j.commit(ctx, item) || owed
			case reply:
				j.send(ctx, item.topic, item.id, j.cfg.Now(), item.body)
			case listRequest:
				j.list(ctx, item)
			}
		}
	}
}

// commit publishes the effects of a commit and reports whether the list of
// devices has changed.
func (j *Joiner) commit(ctx context.Context, c twin.Commit) (list bool) {
	for _, effect := range c.Effects {
		switch e := effect.(type) {
		case twin.Refused:
			j.answer(ctx, c, &errorMessage{Code: e.Err.Code, Reason: e.Err.Reason})
		case twin.Result:
			j.answer(ctx, c, &updateMessage{Twin: encodeTwins(e.Twins)})
		case twin.StateResult:
			state := wireState{Name: c.Device[strings.IndexByte(c.Device, '/')+1:], State: e.State, LastOnline: encodeTime(e.LastOnline)}
			j.answer(ctx, c, &stateResult{Device: state})
		case twin.Document:
			m := &documentMessage{Twin: make(map[string]wireTransition, len(e.Twins))}
			for name, t := range e.Twins {
				m.Twin[name] = wireTransition{Last: encodeTwin(t.Last), Current: encodeTwin(t.Current)}
			}
			j.send(ctx, deviceTopic(c.Device, "twin/update/document"), c.EventID, c.Time, m)
		case twin.Delta:
			m := &deltaMessage{Twin: make(map[string]*wireTwin, len(e.Twins)), Delta: e.Values}
			for name, t := range e.Twins {
				m.Twin[name] = encodeTwin(&t)
			}
			j.send(ctx, deviceTopic(c.Device, "twin/update/delta"), "", c.Time, m)
		case twin.Membership:
			list = true
			j.membership(ctx, c, e)
		}
	}
	return list
}

// answer sends m to where the answer to c belongs, if c came from here.
func (j *Joiner) answer(ctx context.Context, c twin.Commit, m stamped) {
	if c.Origin != origin {
		return
	}
	var action string
	switch c.Request.(type) {
	case twin.Update, twin.Sync:
		action = "twin/update"
	case twin.Read:
		action = "twin/get"
	case twin.SetState:
		action = "state/update"
	case twin.ReadState:
		action = "state/get"
	default:
		return
	}
	j.send(ctx, deviceTopic(c.Device, resultOf(action)), c.EventID, c.Time, m)
}

func (j *Joiner) membership(ctx context.Context, c twin.Commit, e twin.Membership) {
	m := &membershipMessage{}
	switch e.Kind {
	case twin.Added:
		m.Added = []wireDevice{encodeDevice(e.Device).withTwins(e.Device)}
	case twin.Removed:
		m.Removed = []wireDevice{encodeDevice(e.Device)}
	default:
		return // the list tells
	}
	j.send(ctx, nodeTopic(j.cfg.Node, "membership/updated"), "", c.Time, m)
}

// list publishes all devices.
func (j *Joiner) list(ctx context.Context, r listRequest) {
	devices := j.cfg.Engine.Devices()
	m := &listMessage{Devices: make([]wireDevice, 0, len(devices))}
	for _, d := range devices {
		w := encodeDevice(d)
		if r.detail {
			w = w.withTwins(d)
			w.Spec, w.Model = d.Member.Spec, d.Member.Model
		}
		m.Devices = append(m.Devices, w)
	}
	topic := nodeTopic(j.cfg.Node, "membership/get/result")
	if r.detail {
		topic = nodeTopic(j.cfg.Node, "membership/detail/result")
	}
	j.send(ctx, topic, r.id, j.cfg.Now(), m)
}

// stamped is a message whose header can be filled in.
type stamped interface {
	stamp(id string, now time.Time)
}

func (h *header) stamp(id string, now time.Time) { h.EventID, h.Timestamp = id, now.UnixMilli() }

// send publishes m, with a new event_id if id is empty.
func (j *Joiner) send(ctx context.Context, topic, id string, now time.Time, m stamped) {
	if id == "" {
		id = uuid.NewString()
	}
	m.stamp(id, now)
	payload, err := json.Marshal(m)
	if err != nil {
		j.cfg.Logger.Error("MQTT message cannot be encoded", "topic", topic, "error", err)
		return
	}
	err = j.cfg.Bus.Publish(ctx, bus.Message{
		Topic: topic, Payload: payload, QoS: bus.AtLeastOnce,
		Properties: []bus.Property{{Key: "event_id", Value: id}},
	})
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, bus.ErrNotRunning):
		// When it starts all devices are announced.
		j.cfg.Logger.Debug("MQTT message is not published: the bus does not run", "topic", topic)
	default:
		j.warn("MQTT message is not published", "topic", topic, "error", err)
	}
}
