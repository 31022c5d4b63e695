package broker

import (
	"maps"
	"sync"
	"sync/atomic"
)

// counters are those of Stats.
type counters struct {
	received, sent, dropped, refused, denied, takeovers, commits, failures, revoked, rejected atomic.Int64

	mu     sync.Mutex
	bounds map[string]int64
}

// bound counts that a limit was reached, and logs it once.
func (b *Broker) bound(name, message string) {
	c := &b.counters
	c.mu.Lock()
	if c.bounds == nil {
		c.bounds = make(map[string]int64)
	}
	c.bounds[name]++
	first := c.bounds[name] == 1
	c.mu.Unlock()
	if first {
		b.log.Warn(message, "limit", name)
	}
}

// Stats are counters since the start, and what there is now.
type Stats struct {
	Clients       int64 // connected now
	Pending       int64 // connections that have not logged in
	Sessions      int64 // of clients that are connected or away
	Subscriptions int64
	Retained      int64 // messages
	RetainedBytes int64
	Outside       int64 // messages that wait for the outside broker
	QueuedBytes   int64 // of messages of QoS 1 and 2 that are not acknowledged

	Received     int64 // messages from clients
	Sent         int64 // messages to clients
	Dropped      int64 // messages not sent to a client at one of its limits
	Refused      int64 // logins
	Denied       int64 // publishes and subscriptions that Access did not allow
	TakeOvers    int64 // sessions that a new connection took from an old one
	Commits      int64 // batches written to the storage
	Failures     int64 // writes to the storage that failed
	Revoked      int64 // connections ended since Access does not accept their login any more
	Rejected     int64 // records that the storage refuses although it takes others
	Disconnected int64 // always 0: no client is disconnected for being slow

	// Bounds says how often each limit was reached: address, clients, outside, pending,
	// queue, retained, sessions, subscriptions, write buffer.
	Bounds map[string]int64
}

// Stats returns the broker's counters.
func (b *Broker) Stats() Stats {
	c := &b.counters
	s := Stats{
		Received: c.received.Load(), Sent: c.sent.Load(), Dropped: c.dropped.Load(), Refused: c.refused.Load(),
		Denied: c.denied.Load(), TakeOvers: c.takeovers.Load(), Commits: c.commits.Load(), Failures: c.failures.Load(),
		Revoked: c.revoked.Load(), Rejected: c.rejected.Load(),
	}
	c.mu.Lock()
	s.Bounds = maps.Clone(c.bounds)
	c.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Clients, s.Pending, s.Sessions = int64(b.clients), int64(b.pending), int64(len(b.sessions))
	s.Retained, s.RetainedBytes, s.QueuedBytes = int64(b.retained.Len()), int64(b.retainedBytes), int64(b.queued)
	s.Subscriptions = int64(b.tree.Len())
	if o := b.outlet; o != nil && o.session != nil {
		s.Outside = int64(o.session.state.Len())
	}
	return s
}
