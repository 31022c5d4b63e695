// Package runguard holds what the Run methods of controller have in common: each may
// be called once (Guard), and some join goroutines that other methods start (Tasks).
package runguard

import (
	"errors"
	"sync/atomic"
)

// ErrStarted is returned by a second Run of one value. Package controller
// exports it as controller.ErrStarted.
var ErrStarted = errors.New("controller: Run was called before: make a new value to run again")

// Guard remembers whether Run was called. The zero value is ready.
type Guard struct{ called atomic.Bool }

// Start returns nil at its first call and ErrStarted at every later one.
func (g *Guard) Start() error {
	if g.called.Swap(true) {
		return ErrStarted
	}
	return nil
}
