package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
)

// Listeners makes one Listener of several, so that one Server accepts nodes over QUIC and
// WebSocket. Its Addr is that of the first. Close closes all. It fails when one of them fails.
// It starts no goroutine that outlives an Accept. No Listener at all, or a nil one, is an
// error.
func Listeners(all ...Listener) (Listener, error) {
	if len(all) == 0 {
		return nil, errors.New("hub: Listeners needs at least one Listener: pass those that nodes may come over")
	}
	for i, l := range all {
		if l == nil {
			return nil, fmt.Errorf("hub: Listener %d of %d is nil: leave out those that are off", i+1, len(all))
		}
	}
	return &listeners{all: slices.Clone(all), accepting: make(chan struct{}, 1)}, nil
}

type listeners struct {
	all       []Listener
	accepting chan struct{} // held by the one Accept that is under way
	// spare are connections that came while another one won. The holder of
	// accepting owns it.
	spare []Conn
}

// Accept waits for whichever connection comes first.
func (l *listeners) Accept(ctx context.Context) (Conn, error) {
	select {
	case l.accepting <- struct{}{}:
		defer func() { <-l.accepting }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if n := len(l.spare); n > 0 {
		c := l.spare[n-1]
		l.spare = l.spare[:n-1]
		return c, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		conn Conn
		err  error
	}
	results := make(chan result, len(l.all))
	for _, from := range l.all {
		go func() { // ends at once when cancelled; joined below
			c, err := from.Accept(ctx)
			results <- result{c, err}
		}()
	}
	first := <-results
	cancel()
	for range len(l.all) - 1 {
		r := <-results
		switch {
		case r.err != nil:
		case first.conn == nil:
			first = r // a failure shows again at the next Accept
		default:
			l.spare = append(l.spare, r.conn)
		}
	}
	return first.conn, first.err
}

// Backlog returns the backlogs of those Listeners that are BacklogReporters.
func (l *listeners) Backlog() map[string]Backlog {
	all := make(map[string]Backlog)
	for _, one := range l.all {
		if e, ok := one.(BacklogReporter); ok {
			maps.Copy(all, e.Backlog())
		}
	}
	return all
}

// Addr is that of the first Listener.
func (l *listeners) Addr() net.Addr { return l.all[0].Addr() }

// Close closes all Listeners, and connections that were not accepted yet.
func (l *listeners) Close() error {
	errs := make([]error, 0, len(l.all))
	for _, one := range l.all {
		errs = append(errs, one.Close())
	}
	l.accepting <- struct{}{} // an Accept under way ends, since all are closed
	defer func() { <-l.accepting }()
	for _, c := range l.spare {
		errs = append(errs, c.Close())
	}
	l.spare = nil
	return errors.Join(errs...)
}
