package devicetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Link is a device.Link in memory, which also takes conditions and proposals and passes on
// calls of methods. Make one with NewLink. All methods may be called by several goroutines at
// once.
type Link struct {
	mu     sync.Mutex
	list   []device.Instance
	wake   chan struct{}
	values map[string]map[string]string
	states map[string]string
	fail   error
	count  int
	next   chan struct{} // closed at the next report; nil while nobody waits

	conditions map[string]map[string]device.Condition // by device and type
	handle     device.MethodHandler                   // nil while no mapper serves methods
	proposals  []device.Proposal
}

var (
	_ device.ConditionLink = (*Link)(nil)
	_ device.MethodLink    = (*Link)(nil)
	_ device.ProposalLink  = (*Link)(nil)
)

// NewLink makes a Link with these devices.
func NewLink(devices ...device.Instance) *Link {
	return &Link{list: devices, wake: make(chan struct{}, 1), values: make(map[string]map[string]string), states: make(map[string]string), conditions: make(map[string]map[string]device.Condition)}
}

// Set replaces the list of devices.
func (l *Link) Set(devices ...device.Instance) {
	l.mu.Lock()
	l.list = devices
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Fail has Report, State, Conditions and Propose return err from now on; nil lets them work again.
func (l *Link) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

// Values returns a copy of what was reported of a device.
func (l *Link) Values(id string) map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.values[id])
}

// StateOf returns the state last reported of a device.
func (l *Link) StateOf(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.states[id]
}

// Reports is how many reports of values were taken.
func (l *Link) Reports() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Wait returns when ok holds, which it asks again after each report of values or a
// state; ok may call l's methods. It fails when ctx ends.
func (l *Link) Wait(ctx context.Context, ok func() bool) error {
	for {
		l.mu.Lock()
		if l.next == nil {
			l.next = make(chan struct{})
		}
		next := l.next
		l.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return fmt.Errorf("devicetest: Wait: the condition did not become true: %w", ctx.Err())
		}
	}
}

// changedLocked wakes those who wait.
func (l *Link) changedLocked() {
	if l.next != nil {
		close(l.next)
		l.next = nil
	}
}

// Watch calls changed with the list, and again after each Set.
func (l *Link) Watch(ctx context.Context, changed func([]device.Instance)) error {
	for {
		l.mu.Lock()
		list := slices.Clone(l.list)
		l.mu.Unlock()
		changed(list)
		select {
		case <-l.wake:
		case <-ctx.Done():
			return nil
		}
	}
}

// Report keeps the values.
func (l *Link) Report(_ context.Context, id string, values map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if l.values[id] == nil {
		l.values[id] = make(map[string]string)
	}
	maps.Copy(l.values[id], values)
	l.count++
	l.changedLocked()
	return nil
}

// State keeps the state.
func (l *Link) State(_ context.Context, id, state string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.states[id] = state
	l.changedLocked()
	return nil
}

// Conditions keeps the conditions.
func (l *Link) Conditions(_ context.Context, id string, conditions []device.Condition) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if l.conditions[id] == nil {
		l.conditions[id] = make(map[string]device.Condition)
	}
	for _, c := range conditions {
		l.conditions[id][c.Type] = c
	}
	l.changedLocked()
	return nil
}

// ConditionOf returns the condition of a type that was last reported of a device; it has no
// Type if none was.
func (l *Link) ConditionOf(id, typ string) device.Condition {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conditions[id][typ]
}

// ServeMethods passes on what Call is given.
func (l *Link) ServeMethods(ctx context.Context, handle device.MethodHandler) error {
	l.setHandler(handle)
	<-ctx.Done()
	l.setHandler(nil)
	return nil
}

func (l *Link) setHandler(handle device.MethodHandler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.handle = handle
	l.changedLocked()
}

// Call calls a method of a device at the mapper that runs with this link. Without one the error
// is device.ErrNotDriven.
func (l *Link) Call(ctx context.Context, id, method string, parameters schema.Options) (schema.Options, error) {
	l.mu.Lock()
	handle := l.handle
	l.mu.Unlock()
	if handle == nil {
		return nil, device.ErrNotDriven
	}
	return handle(ctx, id, method, parameters)
}

// Propose keeps the proposals.
func (l *Link) Propose(_ context.Context, _ string, proposals []device.Proposal) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	l.proposals = slices.Clone(proposals)
	l.changedLocked()
	return nil
}

// Proposals returns what was last proposed.
func (l *Link) Proposals() []device.Proposal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.proposals)
}
