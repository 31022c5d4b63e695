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
	// Run serves until ctx ends and then returns nil, with every goroutine
	// that it started gone. It returns an error when it can never work
	// (address in use, settings refused); an outside broker that cannot be
	// reached is no error but a reason to try again. Run is called once.
	Run(ctx context.Context) error
	// Ready is closed when the transport works for the first time.
	Ready() <-chan struct{}
	// Publish hands over a valid message and does not keep its slices after
	// it has returned. It gives ErrNotRunning outside of Run.
	Publish(ctx context.Context, m Message) error
	// Subscribe has deliver called with each message that matches the filter,
	// one at a time, from now on until stop is called; one call may still be
	// under way when stop returns. It may be called before Run. deliver may
	// block, and then slows the transport and not more than that. The
	// message's slices are the receiver's.
	Subscribe(filter string, deliver func(Message)) (stop func(), err error)
}

// Notifier is implemented by a Transport that can lose its broker and find it
// again.
type Notifier interface {
	// NotifyConnect has connected called each time the transport has a broker
	// (again) and its subscriptions are in place there, until stop is called;
	// the first time before Ready is closed. connected does not block.
	NotifyConnect(connected func()) (stop func())
}
