// Package runguard holds what the Run methods of controller have in common: each may
// be called once (Guard), and some join goroutines that other methods start (Tasks) or the
// requests of a server (Requests).
package runguard

import (
	"errors"
	"sync/atomic"
)

// ErrStarted is returned by a second Run of one value. Package controller
// exports it as controller.ErrStarted.
var ErrStarted = errors.New("controller: Run was called before: make a new value to run again")

// Guard remembers whether Run was called. The zero value is ready.
//
// edged/internal/lifecycle has the same ten lines. No package can hold them for both:
// an internal package is seen only below its parent (go.dev/s/go14internal), controller
// and edged share no parent but the module's root, and the root has no internal folder.
// A public package of hub, meta or bus would be API for ten lines.
type Guard struct{ called atomic.Bool }

// Start returns nil at its first call and ErrStarted at every later one.
func (g *Guard) Start() error {
	if g.called.Swap(true) {
		return ErrStarted
	}
	return nil
}
