package edge

import (
	"context"
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/edgekit/edgekit/hub"
)

// How many events the API server gets of one node. The agent of a node reports 50 a second of its pods and
// 50 of itself by default, and its outbox holds 1000: what it has kept while it had no link fits the burst.
const (
	eventsPerSecond = 100
	eventsBurst     = 5000
	warnEvery       = time.Minute // between two lines in the log about one node
	pruneEvery      = 10 * time.Minute
)

// errTooManyEvents has hub bring the events again. No event is lost here: they stay in the node's outbox,
// which drops its oldest when it is full.
var errTooManyEvents = &hub.Error{Code: hub.CodeUnavailable, Text: "the node reports events faster than they are written: they wait"}

// limitedInbox passes on what the limit of its node allows.
type limitedInbox struct {
	hub.Inbox
	c    *Controller
	node string
}

// Inbox returns an Inbox that gives next the events of a node, and has the node wait while it reports more
// than the API server is to get of one.
func (c *Controller) Inbox(node string, next hub.Inbox) hub.Inbox {
	return &limitedInbox{Inbox: next, c: c, node: node}
}

// Append passes the events on, or none of them if the node must wait.
func (i *limitedInbox) Append(ctx context.Context, source string, events []hub.Event) error {
	ok, warn := i.c.eventLimits.allow(i.node, len(events), time.Now())
	if warn {
		i.c.cfg.Logger.Warn("a node reports more events than an agent does: they wait at the node", "node", i.node, "a second", eventsPerSecond)
	}
	if !ok {
		return errTooManyEvents
	}
	return i.Inbox.Append(ctx, source, events)
}

// eventLimits bounds the events of each node. The zero value is ready. It remembers a node over its
// sessions, so that connecting again gives no new burst, and only while it has used some of its burst.
type eventLimits struct {
	mu     sync.Mutex
	of     map[string]*nodeEvents
	pruned time.Time
	waits  uint64
}

// nodeEvents are the limit of one node's events, and when a line of the log was about it.
type nodeEvents struct {
	*rate.Limiter
	warned time.Time
}

// allow reports whether the node may have some events more now, all of them or none; if not, whether that
// is worth a line.
func (e *eventLimits) allow(node string, events int, now time.Time) (ok, warn bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[string]*nodeEvents)
	}
	if now.Sub(e.pruned) >= pruneEvery {
		e.pruned = now
		maps.DeleteFunc(e.of, func(_ string, n *nodeEvents) bool { return n.TokensAt(now) >= eventsBurst })
	}
	n := e.of[node]
	if n == nil {
		n = &nodeEvents{Limiter: rate.NewLimiter(eventsPerSecond, eventsBurst)}
		e.of[node] = n
	}
	if n.AllowN(now, min(events, eventsBurst)) {
		return true, false
	}
	e.waits++
	if warn = now.Sub(n.warned) >= warnEvery; warn {
		n.warned = now
	}
	return false, warn
}

// EventWaits is how often events of a node had to wait since the node reported too many.
func (c *Controller) EventWaits() uint64 {
	c.eventLimits.mu.Lock()
	defer c.eventLimits.mu.Unlock()
	return c.eventLimits.waits
}
