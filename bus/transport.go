package bus

import (
	"context"
	"errors"
)

// Errors that callers branch on.
var (
	// ErrNotRunning is returned for a publish before Run or after it ended.
	ErrNotRunning = errors.New("bus: not running")
	// ErrStarted is returned by a second Run of one value.
	ErrStarted = errors.New("bus: Run was called before")
)

// Transport is one way to a broker. bus/broker, bus/client and the fake in
// bus/bustest implement it; package bustest has the suite that a Transport
// must pass. All methods may be called by several goroutines at once.
type Transport interface {
	// Run serves until ctx ends, waits for every goroutine that it started, and
	// returns nil. It returns an error when it can never work (address in use,
	// settings refused). When an outside broker cannot be reached it tries again.
	// A second call returns ErrStarted.
	Run(ctx context.Context) error
	// Ready is closed when the transport works for the first time.
	Ready() <-chan struct{}
	// Publish publishes a valid message and does not keep its slices. It returns
	// ErrNotRunning outside of Run.
	Publish(ctx context.Context, m Message) error
	// Subscribe calls deliver with each message that matches the filter, one at a
	// time, until stop is called; one call may still run when stop returns. It may
	// be called before Run. deliver may block, which slows only the transport. The
	// receiver owns the message's slices.
	Subscribe(filter string, deliver func(Message)) (stop func(), err error)
}

// Reconnector is a Transport that can give up a connection that does not work though it is
// there.
type Reconnector interface {
	// Reconnect closes the connection to the broker. The transport makes another one, with all
	// subscriptions.
	Reconnect()
}

// Notifier is a Transport that can lose the connection to its broker and
// reconnect.
type Notifier interface {
	// NotifyConnect calls connected each time the transport has connected to its
	// broker and made its subscriptions there, until stop is called; the first
	// time before Ready is closed. connected does not block.
	NotifyConnect(connected func()) (stop func())
}
