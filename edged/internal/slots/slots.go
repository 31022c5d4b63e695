package slots

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// What a call that hangs may cost those beside it.
const (
	held        = time.Second     // a call that takes longer gives its slot to the next
	longestWait = 5 * time.Second // a call that waited so long begins without a slot
)

// Slots lets a few calls run at a time. The calls that stop and remove sandboxes cost
// CPU: network plugins and the shims run as programs. When many pods end at once and all
// compete, each is done only when nearly all are; a few at a time, the first are done
// soon. A call goes on without a slot when it waited for one too long. It may be used by
// several goroutines.
type Slots chan struct{}

// New has two slots for each CPU: the calls wait for the kernel too.
func New() Slots { return make(Slots, 2*runtime.GOMAXPROCS(0)) }

// Acquire waits for a slot. What it returns gives the slot back; it must be called.
func (s Slots) Acquire(ctx context.Context) (release func()) {
	select {
	case s <- struct{}{}:
	default:
		wait := time.NewTimer(longestWait)
		defer wait.Stop()
		select {
		case s <- struct{}{}:
		case <-wait.C:
			return func() {}
		case <-ctx.Done():
			return func() {}
		}
	}
	give := sync.OnceFunc(func() { <-s })
	late := time.AfterFunc(held, give)
	return func() {
		late.Stop()
		give()
	}
}
