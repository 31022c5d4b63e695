package lifecycle

import (
	"errors"
	"sync/atomic"
)

// ErrStarted is returned by every Run of edged that is called a second time. It is
// edged.ErrStarted.
var ErrStarted = errors.New("edged: Run was called before: make a new value to run again")

// Guard lets a value run once. The zero value is ready for use.
// controller/internal/runguard has the same one, and says why there are two.
type Guard struct{ started atomic.Bool }

// Start gives ErrStarted from its second call on, whether or not the first run has
// ended.
func (g *Guard) Start() error {
	if g.started.Swap(true) {
		return ErrStarted
	}
	return nil
}
