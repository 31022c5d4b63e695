package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/internal/loglimit"
)

// origin marks the engine calls that are answered here.
const origin = "mqtt"

// codeBusy refuses a request of which too many wait. It may be repeated, as each code from
// 500 on.
const codeBusy = 503

// queueLength is the number of commits and answers that may wait to be
// published.
const queueLength = 1024

// bufferBytes is how large the memory may be that is kept for the next message.
const bufferBytes = 16 << 10

// Config sets up a Bridge. Engine, Bus and Node are required.
type Config struct {
	Engine *twin.Engine
	Bus    *bus.Bus
	Node   string           // the node's name, one level of a topic
	Now    func() time.Time // the clock for timestamps of answers that the engine has no part in; nil means time.Now
	// Published is called after the delta of a device was published, with the time when that began and
	// the error; nil costs nothing. It must not block.
	Published func(device string, began time.Time, err error)
	Logger    *slog.Logger // nil discards
}

// Bridge answers and publishes for a twin engine on MQTT. All methods may be
// called by several goroutines at once.
type Bridge struct {
	cfg       Config
	out       chan any // twin.Commit, reply, announcement or listRequest, in the order of publication
	pasts     chan pastRequest
	claims    chan claimRequest
	buffer    []byte    // for the next payload; the goroutine that publishes owns it
	revisions revisions // the goroutine that publishes owns them
	started   atomic.Bool
	dropped   atomic.Int64
	faults    loglimit.Limiter
}

// warn logs a fault that may last, or that any client may cause: a few lines, and
// how many were left out.
func (b *Bridge) warn(msg string, args ...any) {
	if skipped, ok := b.faults.Allow(); ok {
		b.cfg.Logger.Warn(msg, append(args, "skipped", skipped)...)
	}
}

// reply is an answer that needs no commit.
type reply struct {
	topic string
	id    string
	body  stamped
}

// New checks cfg and allocates a Bridge.
func New(cfg Config) (*Bridge, error) {
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
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Bridge{cfg: cfg, out: make(chan any, queueLength), pasts: make(chan pastRequest, pastQueue), claims: make(chan claimRequest, claimQueue)}, nil
}

// Dropped is the number of requests since the start whose topic named no
// device, so that they could not be answered.
func (b *Bridge) Dropped() int64 { return b.dropped.Load() }

// Run answers and publishes until ctx ends. The engine and the bus may start
// before or after it. A second call returns twin.ErrStarted.
func (b *Bridge) Run(ctx context.Context) error {
	if b.started.Swap(true) {
		return fmt.Errorf("twin/mqtt: %w", twin.ErrStarted)
	}
	defer b.cfg.Engine.Subscribe(func(c twin.Commit) { b.enqueue(ctx, c) })()
	filters := map[string]func(context.Context, bus.Message){
		topics.Device(topics.AnyDevice, "twin/+"):                             b.handleDevice,
		topics.Device(topics.AnyDevice, "state/+"):                            b.handleDevice,
		topics.Node(b.cfg.Node, topics.MembershipGet):                         b.handleMembership,
		topics.Node(b.cfg.Node, topics.MembershipDetail):                      b.handleMembership,
		topics.Node(b.cfg.Node, topics.OfLevel("+", topics.MembershipDetail)): b.handleMembership,
		topics.Node(b.cfg.Node, topics.OfLevel("+", topics.MembershipClaim)):  b.handleClaim,
	}
	for filter, handler := range filters {
		stop, err := b.cfg.Bus.Subscribe(filter, handler)
		if errors.Is(err, bus.ErrNotRunning) && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("twin/mqtt: %w", err)
		}
		defer stop()
	}
	up := make(chan struct{}, 1)
	defer b.cfg.Bus.NotifyConnect(func() {
		select {
		case up <- struct{}{}:
		default:
		}
	})()
	var others sync.WaitGroup
	others.Go(func() { b.announce(ctx, up) })
	others.Go(func() { b.answerPasts(ctx) })
	others.Go(func() { b.serveClaims(ctx) })
	defer others.Wait()
	return b.publish(ctx)
}

// announcement asks for the lists of all devices, and all deltas.
type announcement struct{}

// announce publishes all devices when engine and bus are ready, and again after
// each reconnect to a broker.
func (b *Bridge) announce(ctx context.Context, up <-chan struct{}) {
	for _, ready := range []<-chan struct{}{b.cfg.Engine.Ready(), b.cfg.Bus.Ready()} {
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
		b.enqueue(ctx, announcement{})
		select {
		case <-up:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Bridge) enqueue(ctx context.Context, item any) {
	select {
	case b.out <- item:
	case <-ctx.Done():
	}
}

// handleDevice passes one request for a device to the engine.
func (b *Bridge) handleDevice(ctx context.Context, m bus.Message) {
	device, action, ok := parseRequest(m.Topic)
	if !ok {
		b.dropped.Add(1)
		b.warn("MQTT request names no device", "topic", m.Topic)
		return
	}
	var request twin.Request
	var asked topics.HistoryRequest
	var id string
	var err error
	if action == topics.TwinHistory {
		asked, err = decodeHistory(m.Payload)
		id = asked.EventID
	} else {
		request, id, err = decodeRequest(action, m.Payload)
	}
	if id == "" {
		id = m.Property("event_id")
	}
	refuse := func(code int, reason string) {
		b.enqueue(ctx, reply{
			topic: topics.Device(device, topics.Result(action)), id: id, body: &topics.ErrorMessage{Code: code, Reason: reason},
		})
	}
	if err != nil {
		refuse(twin.CodeInvalid, err.Error())
		return
	}
	if action == topics.TwinHistory {
		select {
		case b.pasts <- pastRequest{device: device, id: id, HistoryRequest: asked}:
		default:
			refuse(codeBusy, fmt.Sprintf("%d requests for past values wait already: ask again later", pastQueue))
		}
		return
	}
	if request == nil {
		return // another verb on the same level
	}
	err = b.cfg.Engine.Submit(ctx, twin.Call{Device: device, Request: request, Origin: origin, EventID: id})
	if err != nil && ctx.Err() == nil {
		b.cfg.Logger.Warn("MQTT request is lost: the twin engine does not run any more", "topic", m.Topic, "err", err)
	}
}

// parseRequest reads $hw/events/device/<namespace>/<name>/<kind>/<verb>.
func parseRequest(topic string) (id, action string, ok bool) {
	id, action, ok = topics.ParseDevice(topic)
	if !ok || strings.Count(action, "/") != 1 {
		return "", "", false
	}
	return id, action, true
}

// decodeRequest returns nil for an action that is not a request, and the
// event_id as far as it can be read.
func decodeRequest(action string, payload []byte) (r twin.Request, id string, err error) {
	switch action {
	case topics.TwinUpdate:
		patches, id, err := decodeUpdate(payload)
		return twin.Update{Twins: patches}, id, err
	case topics.TwinCloudUpdated:
		patches, id, err := decodeUpdate(payload)
		return twin.Sync{Twins: patches}, id, err
	case topics.TwinGet:
		return twin.Read{}, eventID(payload), nil
	case topics.StateUpdate:
		state, id, err := decodeState(payload)
		return state, id, err
	case topics.StateConditions:
		conditions, id, err := decodeConditions(payload)
		return conditions, id, err
	case topics.StateGet:
		return twin.ReadState{}, eventID(payload), nil
	}
	return nil, "", nil
}

// publish sends what the queue holds, in order, until ctx ends.
func (b *Bridge) publish(ctx context.Context) error {
	b.revisions = newRevisions(b.cfg.Now())
	for {
		select {
		case <-ctx.Done():
			return nil
		case item := <-b.out:
			switch item := item.(type) {
			case twin.Commit:
				b.commit(ctx, item)
			case reply:
				b.send(ctx, item.topic, item.id, b.cfg.Now(), item.body)
			case announcement:
				b.announceAll(ctx)
			case listRequest:
				b.list(ctx, item, b.cfg.Engine.Devices())
			}
		}
	}
}

// commit publishes the effects of a commit.
func (b *Bridge) commit(ctx context.Context, c twin.Commit) {
	for _, effect := range c.Effects {
		switch e := effect.(type) {
		case twin.Refused:
			b.answer(ctx, c, &topics.ErrorMessage{Code: e.Err.Code, Reason: e.Err.Reason})
		case twin.Result:
			b.result(ctx, c, e)
		case twin.StateResult:
			state := topics.State{Name: c.Device[strings.IndexByte(c.Device, '/')+1:], State: e.State, LastOnline: encodeTime(e.LastOnline)}
			b.answer(ctx, c, &topics.StateResultMessage{Device: state})
		case twin.Document:
			id := orNew(c.EventID)
			_ = b.publishPayload(ctx, topics.Device(c.Device, topics.TwinDocument), id, appendDocument(b.buffer[:0], id, c.Time, e.Twins))
		case twin.Delta:
			b.delta(ctx, c.Device, c.Time, e)
		case twin.Membership:
			b.membership(ctx, c, e)
		}
	}
}

// result publishes the answer to an update or a get that came over MQTT.
func (b *Bridge) result(ctx context.Context, c twin.Commit, e twin.Result) {
	if c.Origin != origin {
		return
	}
	d, _ := b.cfg.Engine.Device(c.Device)
	stale := func(name string) bool { return d.Quality(name, c.Time) == twin.Stale }
	id := orNew(c.EventID)
	_ = b.publishPayload(ctx, resultTopic(c), id, appendResult(b.buffer[:0], id, c.Time, e.Twins, stale))
}

func (b *Bridge) delta(ctx context.Context, device string, now time.Time, d twin.Delta) {
	id := newEventID()
	if b.cfg.Published == nil {
		_ = b.publishPayload(ctx, topics.Device(device, topics.TwinDelta), id, appendDelta(b.buffer[:0], id, now, d))
		return
	}
	began := time.Now()
	b.cfg.Published(device, began, b.publishPayload(ctx, topics.Device(device, topics.TwinDelta), id, appendDelta(b.buffer[:0], id, now, d)))
}

// publishPayload publishes a payload in b.buffer, whose memory it keeps for the next. The
// goroutine that publishes owns that. The error was logged.
func (b *Bridge) publishPayload(ctx context.Context, topic, id string, payload []byte) error {
	err := b.sendPayload(ctx, topic, id, payload)
	if b.buffer = nil; cap(payload) <= bufferBytes {
		b.buffer = payload
	}
	return err
}

// answer publishes the answer to c if the request came over MQTT. A state that the engine
// itself has changed, as the device is silent, is published the same way.
func (b *Bridge) answer(ctx context.Context, c twin.Commit, m stamped) {
	if _, own := c.Request.(twin.Tick); c.Origin == origin || own {
		b.send(ctx, resultTopic(c), c.EventID, c.Time, m)
	}
}

// resultTopic is where the answer to the request of c goes.
func resultTopic(c twin.Commit) string {
	action := topics.TwinUpdate
	switch c.Request.(type) {
	case twin.Read:
		action = topics.TwinGet
	case twin.SetState, twin.Tick:
		action = topics.StateUpdate
	case twin.SetConditions:
		action = topics.StateConditions
	case twin.ReadState:
		action = topics.StateGet
	}
	return topics.Device(c.Device, topics.Result(action))
}

func newEventID() string { return uuid.NewString() }

func orNew(id string) string {
	if id == "" {
		return newEventID()
	}
	return id
}

// stamped is a message with a header.
type stamped interface {
	Stamp(id string, now time.Time)
}

// send publishes m, with a new event_id if id is empty.
func (b *Bridge) send(ctx context.Context, topic, id string, now time.Time, m stamped) {
	id = orNew(id)
	m.Stamp(id, now)
	payload, err := json.Marshal(m)
	if err != nil {
		b.cfg.Logger.Error("MQTT message cannot be encoded", "topic", topic, "err", err)
		return
	}
	_ = b.sendPayload(ctx, topic, id, payload)
}

// sendPayload publishes and returns the error, which it has logged.
func (b *Bridge) sendPayload(ctx context.Context, topic, id string, payload []byte) error {
	err := b.cfg.Bus.Publish(ctx, bus.Message{
		Topic: topic, Payload: payload, QoS: bus.AtLeastOnce,
		Properties: []bus.Property{{Key: "event_id", Value: id}},
	})
	switch {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, bus.ErrNotRunning):
		// When it starts, all devices are announced.
		b.cfg.Logger.Debug("MQTT message is not published: the bus does not run", "topic", topic)
	default:
		b.warn("MQTT message is not published", "topic", topic, "err", err)
	}
	return err
}
