package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	// requestAgain is how often a job that waits asks again: requests are not retained.
	requestAgain = 30 * time.Second
	// maxConfirm bounds the payload of a confirmation in bytes.
	maxConfirm = 16 << 10
)

// nodeBus is what edgecore's own topics use of a *bus.Bus.
type nodeBus interface {
	Ready() <-chan struct{}
	Publish(ctx context.Context, m bus.Message) error
	Subscribe(filter string, handler bus.Handler) (stop func(), err error)
}

// jobFollower is what jobTopics needs of a *jobs.Runner.
type jobFollower interface {
	jobControl
	// Changed returns a channel that is closed at the next change of a job.
	Changed() <-chan struct{}
}

// jobTopics has jobs confirmed and refused over MQTT, and says there how they end.
type jobTopics struct {
	bus   nodeBus
	jobs  jobFollower
	node  string
	log   *slog.Logger
	ended map[string]bool // uids of the jobs whose end was said, or that had ended before
}

// subscribe subscribes once the bus runs. stop is nil after an error, and when ctx ends before.
func subscribe(ctx context.Context, b nodeBus, filter string, handler bus.Handler) (stop func(), err error) {
	select {
	case <-b.Ready():
	case <-ctx.Done():
		return nil, nil
	}
	stop, err = b.Subscribe(filter, handler)
	if errors.Is(err, bus.ErrNotRunning) && ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return stop, nil
}

// run publishes and answers until ctx ends.
func (t *jobTopics) run(ctx context.Context) error {
	stop, err := subscribe(ctx, t.bus, topics.Node(t.node, topics.UpgradeConfirm), t.confirm)
	if stop == nil {
		return err
	}
	defer stop()
	tick := time.NewTicker(requestAgain)
	defer tick.Stop()
	t.ended = make(map[string]bool)
	for _, s := range t.jobs.List().Items {
		t.ended[s.UID] = s.Finished()
	}
	asked, again := "", false
	for {
		changed := t.jobs.Changed()
		waiting, ok := t.jobs.Waiting()
		if !ok {
			waiting.UID = ""
		}
		if ok && (again || waiting.UID != asked) {
			t.request(ctx, waiting)
		}
		asked = waiting.UID
		t.sayEnds(ctx)
		select {
		case <-changed:
			again = false
		case <-tick.C:
			again = true
		case <-ctx.Done():
			return nil
		}
	}
}

// sayEnds publishes the results of jobs that have ended.
func (t *jobTopics) sayEnds(ctx context.Context) {
	there := make(map[string]bool)
	for _, s := range t.jobs.List().Items {
		there[s.UID] = s.Finished()
		if !s.Finished() || t.ended[s.UID] {
			continue
		}
		result := topics.UpgradeResultMessage{Kind: s.Kind, Job: s.Name, UID: s.UID, Phase: s.Phase, Version: s.Version, Reason: s.Message}
		if result.Reason == "" {
			result.Reason = s.Reason
		}
		result.Stamp(rand.Text(), time.Now())
		t.publish(ctx, topics.UpgradeResult, result)
	}
	t.ended = there
}

func (t *jobTopics) request(ctx context.Context, s jobs.Status) {
	m := topics.UpgradeRequestMessage{Kind: s.Kind, Job: s.Name, UID: s.UID, From: s.From, Version: s.Version}
	if s.WaitingSince != nil {
		m.Since = s.WaitingSince.UnixMilli()
	}
	m.Stamp(rand.Text(), time.Now())
	t.publish(ctx, topics.UpgradeRequest, m)
}

func (t *jobTopics) publish(ctx context.Context, action string, m any) {
	payload, err := json.Marshal(m)
	if err == nil {
		err = t.bus.Publish(ctx, bus.Message{Topic: topics.Node(t.node, action), Payload: payload, QoS: bus.AtLeastOnce})
	}
	if err != nil && ctx.Err() == nil {
		t.log.Warn("a message about an upgrade could not be published", "topic", topics.Node(t.node, action), "err", err)
	}
}

// confirm serves one message. Retained ones are old, and decide about no job of now.
func (t *jobTopics) confirm(ctx context.Context, m bus.Message) {
	if m.Retain {
		return
	}
	result := t.decide(ctx, m.Payload)
	if result.Code != 0 {
		t.log.Warn("a confirmation over MQTT had no effect", "job", result.Job, "code", result.Code, "reason", result.Reason)
	}
	t.publish(ctx, topics.UpgradeResult, result)
}

// decide does what the message says.
func (t *jobTopics) decide(ctx context.Context, payload []byte) topics.UpgradeResultMessage {
	var result topics.UpgradeResultMessage
	result.Stamp("", time.Now())
	var m topics.UpgradeConfirmMessage
	if len(payload) > maxConfirm || jsonlimit.Unmarshal(payload, &m) != nil {
		result.Code, result.Reason = 400, `the message is no JSON like {"event_id":"e-1","job":"NAME","decision":"confirm"}`
		return result
	}
	result.EventID, result.Job, result.UID = m.EventID, m.Job, m.UID
	if m.UID != "" {
		if waiting, ok := t.jobs.Waiting(); !ok || waiting.UID != m.UID {
			result.Code, result.Reason = 404, "no job with this uid waits for a confirmation"
			return result
		}
	}
	var status jobs.Status
	var err error
	switch m.Decision {
	case topics.DecisionConfirm:
		status, err = t.jobs.Confirm(ctx, m.Job)
	case topics.DecisionRefuse:
		status, err = t.jobs.Refuse(ctx, jobs.Refusal{Job: m.Job, Reason: m.Reason})
	default:
		err = &jobs.RequestError{Reason: `decision must be "confirm" or "refuse"`}
	}
	if err != nil {
		result.Code, result.Reason = jobCode(err), err.Error()
		return result
	}
	result.Kind, result.Job, result.UID = status.Kind, status.Name, status.UID
	return result
}
