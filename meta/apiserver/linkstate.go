package apiserver

import (
	"context"
	"sync"
)

// linkState notifies local watches when the link is connected again, and remembers whether the
// cloud passes requests on.
type linkState struct {
	mu    sync.Mutex
	again chan struct{} // closed when the link is connected
	old   bool          // the cloud's version serves no streams; until the next connection
}

// next returns a channel that is closed when the link is next connected.
func (l *linkState) next() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.again == nil {
		l.again = make(chan struct{})
	}
	return l.again
}

// changed notes a state of the link. Two connected ones may have had a disconnected one between
// them, so each closes the channels that next returned before.
func (l *linkState) changed(connected bool) {
	if !connected {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.old = false
	if l.again != nil {
		close(l.again)
		l.again = nil
	}
}

// unsupported notes that the cloud passes no requests on.
func (l *linkState) unsupported() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.old = true
}

func (l *linkState) isOld() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.old
}

type onlineKey struct{}

// withOnline gives a request the channel that is closed when the link is connected.
func withOnline(ctx context.Context, online <-chan struct{}) context.Context {
	return context.WithValue(ctx, onlineKey{}, online)
}

func onlineOf(ctx context.Context) <-chan struct{} {
	online, _ := ctx.Value(onlineKey{}).(<-chan struct{})
	return online
}
