package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

var (
	_ device.ConditionLink = (*Link)(nil)
	_ device.MethodLink    = (*Link)(nil)
	_ device.ProposalLink  = (*Link)(nil)
)

// callTimeout bounds a call whose message names no deadline; maxCalls is how many run at once;
// further ones are dropped, so that their callers get no answer.
const (
	callTimeout = 30 * time.Second
	maxCalls    = 64
)

// Conditions publishes conditions of a device and waits for the answer.
func (l *Link) Conditions(ctx context.Context, id string, conditions []device.Condition) error {
	m := topics.ConditionsMessage{Header: newHeader(), Conditions: make([]topics.Condition, 0, len(conditions))}
	for _, c := range conditions {
		m.Conditions = append(m.Conditions, topics.Condition{Type: c.Type, Status: c.Status, Reason: c.Reason, Message: c.Message})
	}
	return l.call(ctx, topics.Device(id, topics.StateConditions), m.EventID, m)
}

// Propose publishes proposals, retained. While another mapper drives the devices it does nothing:
// that one proposes, and knows which devices are declared.
func (l *Link) Propose(ctx context.Context, protocol string, proposals []device.Proposal) error {
	if l.waits.Load() {
		return nil
	}
	list, err := json.Marshal(proposals)
	if err != nil {
		return fmt.Errorf("device/mqtt: proposals: %w", err)
	}
	m := topics.ProposalsMessage{Header: newHeader(), Protocol: protocol, Proposals: list}
	payload, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("device/mqtt: proposals: %w", err)
	}
	err = l.cfg.Bus.Publish(ctx, bus.Message{Topic: topics.Node(l.cfg.Node, topics.Proposed(protocol)), Payload: payload, QoS: bus.AtLeastOnce, Retain: true})
	if err != nil {
		return fmt.Errorf("device/mqtt: proposals: %w", err)
	}
	return nil
}

// ServeMethods answers calls of methods of all devices until ctx ends. It leaves those that
// this mapper does not drive to others.
func (l *Link) ServeMethods(ctx context.Context, handle device.MethodHandler) error {
	var mu sync.Mutex // guards what follows
	var calls sync.WaitGroup
	running, ended := 0, false
	stop, err := l.cfg.Bus.Subscribe(topics.Device(topics.AnyDevice, topics.MethodCall), func(_ context.Context, m bus.Message) {
		id, call, refusal := decodeCall(m)
		mu.Lock()
		defer mu.Unlock()
		if id == "" || ended {
			return
		}
		if running >= maxCalls {
			l.cfg.Logger.Debug("call of a method is dropped: too many are running", "device", id, "method", call.Method)
			return
		}
		running++
		calls.Go(func() {
			if refusal != nil {
				l.answerCall(ctx, id, call, nil, refusal)
			} else {
				l.serveCall(ctx, handle, id, call)
			}
			mu.Lock()
			running--
			mu.Unlock()
		})
	})
	if err != nil {
		return fmt.Errorf("device/mqtt: %w", err)
	}
	<-ctx.Done()
	stop()
	mu.Lock()
	ended = true
	mu.Unlock()
	calls.Wait()
	return nil
}

// decodeCall reads a call of a method. The ID is empty if it cannot be answered.
func decodeCall(m bus.Message) (id string, call topics.MethodCallMessage, err error) {
	id, _, ok := topics.ParseDevice(m.Topic)
	if !ok {
		return "", call, nil
	}
	if err := jsonlimit.Unmarshal(m.Payload, &call); err != nil {
		call.EventID = m.Property("event_id")
		return id, call, &device.CallError{Code: device.CodeInvalid, Reason: "payload is not a call of a method: it is no JSON object with method and parameters"}
	}
	var parameters schema.Options
	switch {
	case call.Method == "":
		err = &device.CallError{Code: device.CodeInvalid, Reason: `field "method" is required: the method's name`}
	case len(call.Parameters) > 0 && parameters.UnmarshalJSON(call.Parameters) != nil:
		err = &device.CallError{Code: device.CodeInvalid, Reason: `field "parameters" must be an object`}
	case call.Deadline < 0 || call.Deadline > time.Hour.Milliseconds():
		err = &device.CallError{Code: device.CodeInvalid, Reason: `field "deadline" must be a number of milliseconds, up to an hour`}
	}
	call.Parameters = json.RawMessage(parameters) // without a null
	return id, call, err
}

// serveCall runs a method and answers.
func (l *Link) serveCall(ctx context.Context, handle device.MethodHandler, id string, call topics.MethodCallMessage) {
	deadline := callTimeout
	if call.Deadline > 0 {
		deadline = time.Duration(call.Deadline) * time.Millisecond
	}
	running, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	result, err := handle(running, id, call.Method, schema.Options(call.Parameters))
	l.answerCall(ctx, id, call, result, err)
}

// answerCall publishes what came of a call, unless the device is another mapper's.
func (l *Link) answerCall(ctx context.Context, id string, call topics.MethodCallMessage, result schema.Options, err error) {
	if errors.Is(err, device.ErrNotDriven) {
		return
	}
	m := topics.MethodResultMessage{Header: newHeader(), Method: call.Method, Result: json.RawMessage(result)}
	m.EventID = call.EventID
	var refused *device.CallError
	switch {
	case errors.As(err, &refused):
		m.Code, m.Reason = refused.Code, refused.Reason
	case err != nil:
		m.Code, m.Reason = device.CodeFailed, err.Error()
	}
	if err := l.publish(ctx, topics.Device(id, topics.Result(topics.MethodCall)), m.EventID, m); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("result of a method cannot be published", "device", id, "method", call.Method, "err", err)
	}
}
