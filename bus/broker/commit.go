package broker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/internal/journal"
	"github.com/edgekit/edgekit/bus/internal/session"
)

const (
	// lazyCommit is how long a change may wait that nobody waits for.
	lazyCommit = 500 * time.Millisecond
	// commitPause is how long the broker waits after the storage failed.
	commitPause = time.Second
	// rejectAfter is how many times the storage may refuse a batch before it is asked which
	// record it is that it refuses.
	rejectAfter = 3
	// lastCommit is how long the broker tries at its end.
	lastCommit = 5 * time.Second
)

// batch is what waits for the next commit. Broker.mu guards it.
type batch struct {
	messages []stored
	removed  []string
	sessions map[*clientSession]struct{} // whose record changed
	cursors  map[*clientSession]struct{} // whose cursor changed
	retained map[string]struct{}         // topics whose retained message changed
	after    []after                     // what is done after the commit, in order
}

type stored struct {
	message *session.Message
	targets []journal.Target
	from    *clientSession // of QoS 2: the session that must know pid as soon as the message is kept; else nil
	pid     uint16
}

// after is one packet to send, or one message to release, once the state is on the disk.
type after struct {
	conn     *conn
	kind     byte // of an acknowledgement
	pid      uint16
	code     byte
	packet   []byte           // instead of an acknowledgement
	call     *publication     // goes to the program, instead of an acknowledgement
	message  *session.Message // it waits no longer
	stored   chan<- struct{}  // closed
	sessions []*clientSession // in which it waits
}

func (t *batch) reset() {
	*t = batch{
		sessions: make(map[*clientSession]struct{}), cursors: make(map[*clientSession]struct{}),
		retained: make(map[string]struct{}),
	}
}

func (t *batch) empty() bool {
	return len(t.messages)+len(t.removed)+len(t.sessions)+len(t.cursors)+len(t.retained)+len(t.after) == 0
}

func (t *batch) remove(key string) { t.removed = append(t.removed, key) }

func (t *batch) removeSession(s *clientSession) {
	delete(t.sessions, s)
	delete(t.cursors, s)
	t.removed = append(t.removed, numbered(sessionPrefix, s.number), numbered(cursorPrefix, s.number))
}

func numbered(prefix string, n uint64) string { return fmt.Sprintf("%s%016x", prefix, n) }

// retainedKey is the key of a topic's retained message. Stores limit the length of keys.
func retainedKey(topic string) string {
	if len(topic) > 512 {
		return fmt.Sprintf("%s#%x", retainedPrefix, sha256.Sum256([]byte(topic))) // no topic has "#"
	}
	return retainedPrefix + topic
}

func messageKey(id uint64) string { return numbered(messagePrefix, id) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is enough
	}
}

// commitSoon has the batch committed when it suits.
func (b *Broker) commitSoon() {
	if b.cfg.Storage != nil {
		signal(b.lazy)
	}
}

func (b *Broker) dirtySession(s *clientSession) {
	if s.durable {
		b.batch.sessions[s] = struct{}{}
		b.commitSoon()
	}
}

func (b *Broker) dirtyCursor(s *clientSession) {
	if s.durable {
		b.batch.cursors[s] = struct{}{}
		b.commitSoon()
	}
}

func (b *Broker) dirtyRetained(topic string) {
	if b.cfg.Storage != nil {
		b.batch.retained[topic] = struct{}{}
		b.commitSoon()
	}
}

// onCommit does a once all changes so far are on the disk. On one connection the order is
// kept: what does not wait follows what waits.
func (b *Broker) onCommit(a after, wait bool) {
	if !wait && (a.conn == nil || a.conn.unsettled == 0) {
		b.settle(a)
		return
	}
	if a.conn != nil {
		a.conn.unsettled++
	}
	b.batch.after = append(b.batch.after, a)
	signal(b.commits)
}

func (b *Broker) settle(a after) {
	switch {
	case a.message != nil:
		a.message.Waiting = false
		for _, s := range a.sessions {
			b.pump(s)
		}
	case a.stored != nil:
		close(a.stored)
	case a.packet != nil:
		a.conn.send(a.packet)
	default:
		a.conn.acknowledge(a.kind, a.pid, a.code)
	}
}

// commitLoop commits until done is closed, and once more then. ctx ends some time after
// that.
func (b *Broker) commitLoop(ctx context.Context, done <-chan struct{}) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-b.commits:
		case <-b.lazy:
			timer.Reset(lazyCommit)
			select {
			case <-timer.C:
			case <-b.commits:
			case <-done:
			}
		case <-done:
			b.commit(ctx)
			return
		}
		b.commit(ctx)
	}
}

// commit writes the batch and does what waited for it.
func (b *Broker) commit(ctx context.Context) {
	b.mu.Lock()
	if b.batch.empty() {
		b.mu.Unlock()
		return
	}
	parts := b.encode()
	waiting := b.batch.after
	b.batch.reset()
	b.mu.Unlock()
	for _, changes := range parts {
		if !b.apply(ctx, changes) {
			return // nothing that waits for the disk is acknowledged
		}
	}
	b.mu.Lock()
	var calls []after
	for _, a := range waiting {
		if a.call != nil {
			calls = append(calls, a)
			continue
		}
		if a.conn != nil {
			a.conn.unsettled--
		}
		b.settle(a)
	}
	b.committed.Broadcast()
	b.mu.Unlock()
	if len(calls) > 0 {
		b.callAll(calls)
	}
}

// apply writes the changes, again and again if the storage fails, until ctx ends. If the
// storage works and takes only some of the records, the others are left out.
func (b *Broker) apply(ctx context.Context, changes []Record) bool {
	for tries := 1; ; tries++ {
		err := b.cfg.Storage.Apply(ctx, changes)
		if err == nil {
			b.counters.commits.Add(1)
			return true
		}
		if b.counters.failures.Add(1) == 1 {
			b.log.Error("MQTT messages cannot be stored; they are not acknowledged", "err", err)
		}
		if tries >= rejectAfter && b.storageWorks(ctx) {
			b.applyParts(ctx, changes, err)
			return ctx.Err() == nil
		}
		if pause(ctx, commitPause); ctx.Err() != nil {
			return false
		}
	}
}

// storageWorks reports whether the storage takes a record of which nothing can be wrong.
func (b *Broker) storageWorks(ctx context.Context) bool {
	return b.cfg.Storage.Apply(ctx, []Record{{Key: probeKey, Value: []byte{1}}, {Key: probeKey}}) == nil
}

// pause waits until d is over or ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// applyParts writes changes of which the storage refuses some, with the error failure, though
// it works. It writes them in halves until those that it refuses stand alone, and leaves these
// out: what they hold stays in memory only, and is lost at the next start.
func (b *Broker) applyParts(ctx context.Context, changes []Record, failure error) {
	if len(changes) == 1 {
		for ctx.Err() == nil && !b.storageWorks(ctx) { // it has failed since
			pause(ctx, commitPause)
			if b.cfg.Storage.Apply(ctx, changes) == nil {
				return
			}
		}
		if ctx.Err() == nil {
			b.counters.rejected.Add(1)
			b.log.Error("the storage refuses a record of the MQTT broker and takes others: it stays in memory only", "key", fmt.Sprintf("%.100q", changes[0].Key), "bytes", len(changes[0].Value), "err", failure)
		}
		return
	}
	for _, part := range [][]Record{changes[:len(changes)/2], changes[len(changes)/2:]} {
		if err := b.cfg.Storage.Apply(ctx, part); err != nil {
			b.applyParts(ctx, part, err)
		}
	}
}
