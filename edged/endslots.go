package edged

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// What a runtime that hangs may cost the pods that end beside.
const (
	endSlotHeld = time.Second     // a call that takes longer gives its slot to the next
	endSlotWait = 5 * time.Second // a call that waited so long begins without a slot
)

// endSlots lets a few calls run at a time. The calls that stop and remove sandboxes cost
// CPU: network plugins and the shims run as programs. When many pods end at once and all
// compete, each is done only when nearly all are; a few at a time, the first are done
// soon.
type endSlots chan struct{}

// newEndSlots has two slots for each CPU: the calls wait for the kernel too.
func newEndSlots() endSlots { return make(endSlots, 2*runtime.GOMAXPROCS(0)) }

// acquire waits for a slot. What it returns gives the slot back; it must be called.
func (s endSlots) acquire(ctx context.Context) (release func()) {
	select {
	case s <- struct{}{}:
	default:
		wait := time.NewTimer(endSlotWait)
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
	late := time.AfterFunc(endSlotHeld, give)
	return func() {
		late.Stop()
		give()
	}
}
