package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
)

// replyPrefix begins the topic on which a Bus gets its answers; 26 letters and digits
// follow, which nobody can guess.
const replyPrefix = "edgekit/reply/"

// ErrNoReply is returned by Reply for a request that names no response topic.
var ErrNoReply = errors.New("bus: request has no response topic")

// requests are the requests of a Bus that wait for their answers.
type requests struct {
	mu      sync.Mutex
	topic   string // of the answers; empty before the first request
	waiting map[string]chan Message
}

// Request publishes m and returns the first answer to it (MQTT 5, 4.10). It sets m's
// ResponseTopic and Correlation. It waits until ctx ends, so ctx should have a deadline:
// nobody may answer. In mode Both the request goes to both brokers. A QoS of 1 or 2
// is advisable.
func (b *Bus) Request(ctx context.Context, m Message) (Message, error) {
	topic, err := b.replyTopic()
	if err != nil {
		return Message{}, err
	}
	id := rand.Text()
	answer := make(chan Message, 1)
	b.requests.mu.Lock()
	b.requests.waiting[id] = answer
	b.requests.mu.Unlock()
	defer func() {
		b.requests.mu.Lock()
		delete(b.requests.waiting, id)
		b.requests.mu.Unlock()
	}()
	m.ResponseTopic, m.Correlation = topic, []byte(id)
	if err := b.Publish(ctx, m); err != nil && !errors.Is(err, ErrBacklog) {
		return Message{}, err
	}
	select {
	case a := <-answer:
		return a, nil
	case <-ctx.Done():
		return Message{}, fmt.Errorf("bus: no answer on %s: %w", m.Topic, ctx.Err())
	}
}

// replyTopic subscribes to the answers at the first request.
func (b *Bus) replyTopic() (string, error) {
	r := &b.requests
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topic != "" {
		return r.topic, nil
	}
	topic := replyPrefix + rand.Text()
	r.waiting = make(map[string]chan Message)
	if _, err := b.Subscribe(topic, func(_ context.Context, m Message) {
		r.mu.Lock()
		waiting := r.waiting[string(m.Correlation)]
		delete(r.waiting, string(m.Correlation)) // a second answer goes nowhere
		r.mu.Unlock()
		if waiting != nil {
			waiting <- m
		}
	}); err != nil {
		return "", err
	}
	r.topic = topic
	return topic, nil
}

// Reply publishes answer to where the request wants it, with the request's Correlation.
// It returns ErrNoReply if the request wants none.
func (b *Bus) Reply(ctx context.Context, request, answer Message) error {
	if request.ResponseTopic == "" {
		return ErrNoReply
	}
	answer.Topic, answer.Correlation = request.ResponseTopic, request.Correlation
	return b.Publish(ctx, answer)
}
