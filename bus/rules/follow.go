package rules

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// rule is one rule whose source is this node.
type rule struct {
	key       meta.Key // of the Rule
	filter    string   // source eventbus: what is subscribed
	targetURL string   // source servicebus: by what programs on the node name it
	end       func()   // ends the subscription
}

// queue is the name of the rule's queue.
func (r *rule) queue() string { return r.key.Namespace + "/" + r.key.Name }

// spec is what a node reads of a Rule.
type spec struct {
	Spec struct {
		SourceResource struct {
			Topic     string `json:"topic"`
			TargetURL string `json:"target_url"`
		} `json:"sourceResource"`
	} `json:"spec"`
}

var rulesPrefix = meta.Down + resources.Rules + "/"

// follow lists the node's rules and then follows their changes. It returns when the watch
// ends.
func (r *Rules) follow(ctx context.Context, group *sync.WaitGroup) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	records, revision, err := r.cfg.Store.List(ctx, rulesPrefix)
	if err != nil {
		return err
	}
	seen := make(map[meta.Key]bool)
	for _, rec := range records {
		if key, ok := r.set(ctx, group, rec); ok {
			seen[key] = true
		}
	}
	r.mu.Lock()
	var gone []meta.Key
	for key := range r.rules {
		if !seen[key] && key.Resource == resources.Rules {
			gone = append(gone, key)
		}
	}
	r.mu.Unlock()
	for _, key := range gone {
		r.remove(key)
	}
	r.removeQueues(ctx)
	r.local.adjust(ctx, group)
	events, err := r.cfg.Store.Watch(ctx, rulesPrefix, revision)
	if err != nil {
		return err
	}
	for batch := range events {
		for _, e := range batch {
			if !e.Deleted {
				r.set(ctx, group, e.Record)
				continue
			}
			if key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Down)); ok {
				r.remove(key)
			}
		}
		r.removeQueues(ctx)
		r.local.adjust(ctx, group)
	}
	return errors.New("the watch has ended")
}

// set puts one stored Rule into force. A Rule that cannot be read is logged and keeps its
// former form: a newer cloud may send what this release cannot read.
func (r *Rules) set(ctx context.Context, group *sync.WaitGroup, rec meta.Record) (meta.Key, bool) {
	o, err := meta.DecodeObject(meta.Down, rec)
	if err != nil {
		r.log.Warn("a stored rule cannot be read", "key", rec.Key, "err", err)
		return meta.Key{}, false
	}
	next := &rule{key: o.Key}
	var s spec
	if err := json.Unmarshal(o.Body, &s); err != nil {
		r.log.Warn("a rule cannot be read; its former form stays in force", "rule", o.Key.String(), "err", err)
		return o.Key, true
	}
	if topic := s.Spec.SourceResource.Topic; topic != "" {
		if next.filter, err = wire.SourceFilter(o.Key.Namespace, topic); err != nil {
			r.log.Warn("the topic of a rule cannot be subscribed", "rule", o.Key.String(), "err", err)
			next.filter = ""
		}
	}
	next.targetURL = s.Spec.SourceResource.TargetURL
	r.mu.Lock()
	old := r.rules[o.Key]
	same := old != nil && old.filter == next.filter && old.targetURL == next.targetURL
	if !same {
		r.rules[o.Key] = next
	}
	r.mu.Unlock()
	if same {
		return o.Key, true
	}
	old.stop()
	r.subscribe(ctx, group, next)
	return o.Key, true
}

// stop ends the subscription of a rule; nil has none.
func (r *rule) stop() {
	if r != nil && r.end != nil {
		r.end()
	}
}

func (r *Rules) remove(key meta.Key) {
	r.mu.Lock()
	old := r.rules[key]
	delete(r.rules, key)
	r.mu.Unlock()
	old.stop()
}

// stopAll ends all subscriptions.
func (r *Rules) stopAll() {
	r.mu.Lock()
	all := r.rules
	r.rules = make(map[meta.Key]*rule)
	r.mu.Unlock()
	for _, old := range all {
		old.stop()
	}
}

// removeQueues forgets the empty queues of rules that are gone. A queue with messages
// stays: the cloud may have taken the rule away for a moment only, and refuses the
// messages if it is gone for good.
func (r *Rules) removeQueues(ctx context.Context) {
	names, err := r.queues.Names(ctx)
	if err != nil {
		return // the next change of a rule tries again
	}
	r.mu.Lock()
	used := make(map[string]bool, len(r.rules))
	for _, v := range r.rules {
		used[v.queue()] = true
	}
	r.mu.Unlock()
	for _, name := range names {
		if used[name] {
			continue
		}
		if err := r.queues.Remove(ctx, name); err != nil && ctx.Err() == nil {
			r.log.Warn("the queue of a removed rule stays", "queue", name, "err", err)
		}
	}
}

// customKey is the pseudo rule of custom messages.
func customKey(node, filter string) meta.Key {
	return meta.Key{Resource: resources.CustomMessages, Namespace: filter, Name: node}
}

// addCustom subscribes to the topics of custom messages if the configuration says so.
func (r *Rules) addCustom(ctx context.Context, group *sync.WaitGroup) error {
	if !r.cfg.CustomMessages {
		return nil
	}
	for _, filter := range wire.CustomTopics() {
		v := &rule{key: customKey(r.cfg.Node, filter), filter: filter}
		r.mu.Lock()
		r.rules[v.key] = v
		r.mu.Unlock()
		r.subscribe(ctx, group, v)
	}
	return nil
}

// maxBatch is how many messages, and maxBatchBytes how many bytes of them, one write has.
const (
	maxBatch      = 128
	maxBatchBytes = 2 << 20
)

// subscribe begins to store the messages of a rule whose source is MQTT.
func (r *Rules) subscribe(ctx context.Context, group *sync.WaitGroup, v *rule) {
	if v.filter == "" {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	waiting := make(chan []byte, maxBatch)
	stop, err := r.cfg.Bus.Subscribe(v.filter, func(_ context.Context, m bus.Message) {
		if m.Retain {
			return // it was there before the subscription
		}
		if len(m.Payload) > wire.MaxPayload {
			if n := r.counts.tooLarge.Add(1); n%100 == 1 {
				r.log.Warn("a message is too large for a rule and is dropped; logged once in a hundred", "topic", m.Topic, "bytes", len(m.Payload), "limit", wire.MaxPayload)
			}
			return
		}
		w := wire.Message{Topic: m.Topic, Payload: m.Payload, ContentType: m.ContentType, Time: time.Now()}
		select {
		case waiting <- w.Encode():
		case <-ctx.Done():
		}
	})
	if err != nil {
		cancel()
		r.log.Error("the topic of a rule cannot be subscribed", "rule", v.queue(), "topic", v.filter, "err", err)
		return
	}
	done := make(chan struct{})
	group.Go(func() {
		defer close(done)
		r.store(ctx, v, waiting)
	})
	v.end = func() {
		stop()
		cancel()
		<-done
	}
}

// store stores what waits, in batches, until ctx ends and nothing waits.
func (r *Rules) store(ctx context.Context, v *rule, waiting <-chan []byte) {
	for {
		var batch [][]byte
		select {
		case body := <-waiting:
			batch = append(batch, body)
		default:
			select {
			case body := <-waiting:
				batch = append(batch, body)
			case <-ctx.Done():
				return
			}
		}
		for size := len(batch[0]); len(batch) < maxBatch && size < maxBatchBytes; {
			var body []byte
			select {
			case body = <-waiting:
			default:
			}
			if body == nil {
				break
			}
			batch, size = append(batch, body), size+len(body)
		}
		r.append(ctx, v, batch)
	}
}

// append stores a batch, and tries again for as long as ctx lives.
func (r *Rules) append(ctx context.Context, v *rule, batch [][]byte) {
	key := meta.Key{Resource: resources.RuleEvents, Namespace: v.key.Namespace, Name: v.key.Name}
	if v.key.Resource == resources.CustomMessages {
		key = meta.Key{Resource: resources.CustomMessages, Name: v.key.Name}
	}
	warned := false
	for {
		// A batch that was taken from the broker is stored even if the rule ends.
		err := r.queues.Append(context.WithoutCancel(ctx), v.queue(), key, batch...)
		if err == nil {
			r.counts.queued.Add(uint64(len(batch)))
			return
		}
		if errors.Is(err, meta.ErrTooLarge) {
			r.counts.tooLarge.Add(uint64(len(batch)))
			r.log.Error("messages of a rule are too large to be stored and are dropped", "rule", v.queue(), "messages", len(batch), "err", err)
			return
		}
		if !warned {
			r.log.Warn("messages of a rule cannot be stored; their publishers wait", "rule", v.queue(), "err", err)
			warned = true
		}
		if !sleep(ctx, retryPause) {
			return
		}
	}
}
