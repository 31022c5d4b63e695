package edge

import (
	"maps"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// How many events the API server gets of one node. The agent of a node reports 50 a second of its pods, and
// keeps a bounded number while it has no link; a node that exceeds this does not run it.
const (
	eventsPerSecond = 100
	eventsBurst     = 5000
	warnEvery       = time.Minute // between two lines in the log about one node
	pruneEvery      = 10 * time.Minute
)

// eventLimits bounds the events of each node. The zero value is ready. It remembers a node over its
// sessions, so that connecting again gives no new burst, and only while it has used some of its burst.
type eventLimits struct {
	mu      sync.Mutex
	of      map[string]*nodeEvents
	pruned  time.Time
	dropped uint64
}

// nodeEvents are the limit of one node's events, and when a line of the log was about it.
type nodeEvents struct {
	*rate.Limiter
	warned time.Time
}

// allow reports whether the node may have one event more now; if not, whether that is worth a line.
func (e *eventLimits) allow(node string, now time.Time) (ok, warn bool) {
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
	if n.AllowN(now, 1) {
		return true, false
	}
	e.dropped++
	if warn = now.Sub(n.warned) >= warnEvery; warn {
		n.warned = now
	}
	return false, warn
}

// DroppedEvents is how many events of nodes were dropped since they were too many.
func (c *Controller) DroppedEvents() uint64 {
	c.eventLimits.mu.Lock()
	defer c.eventLimits.mu.Unlock()
	return c.eventLimits.dropped
}
