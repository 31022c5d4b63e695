package actions

import (
	"time"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
)

// Memory is what the actions for a pod leave for its next decision. Nothing depends on it for
// safety: losing it in a crash costs a repetition.
type Memory struct {
	SetUp, Stale, TornDown    bool // of the volumes
	LogsRemoved, GoneReported bool
	Refresh                   time.Time       // when tokens are due
	Expired                   bool            // one of them is past its end
	Stopped                   map[string]bool // ids of sandboxes that StopSandbox was done for
	// Retry is when what failed is tried again, by the name of the container or by a key of
	// plan.Situation.Retry, and Waiting why a container does not start.
	Retry           map[string]time.Time
	Waiting         map[string]plan.Waiting
	Refused         *podspec.UnsupportedError // why the last try to make a sandbox failed; nil if it did not
	RestartAllUntil time.Time                 // the end of the pause after all containers were removed to restart
	Resize          Resize

	restartAllDelay time.Duration // of that pause
	lost            string        // id of the last sandbox that died under a step
	fails           map[string]int
}

// Resize is how far the resources of a pod are what it was granted.
type Resize struct {
	Record     resize.Record
	Unstored   bool                  // the record differs from that on the disk
	Group      bool                  // the pod's cgroup may not have what was granted
	InProgress *plan.ResizeCondition // of what was granted and is not set yet
}

// NewMemory makes the Memory of a pod that nothing was done for.
func NewMemory() Memory {
	return Memory{Stopped: make(map[string]bool), Retry: make(map[string]time.Time), Waiting: make(map[string]plan.Waiting), fails: make(map[string]int)}
}

// ClearBackOff forgets the failures of what name stands for.
func (m *Memory) ClearBackOff(name string) {
	delete(m.fails, name)
	delete(m.Retry, name)
	delete(m.Waiting, name)
}

// noteRestartAll begins the pause before the containers of a pod start again, which are
// all removed.
func (m *Memory) noteRestartAll() {
	now := time.Now()
	if now.Before(m.RestartAllUntil) {
		return // the step before was cut short
	}
	ran := time.Duration(-1)
	if !m.RestartAllUntil.IsZero() {
		ran = now.Sub(m.RestartAllUntil)
	}
	m.restartAllDelay = plan.RestartAllBackOff(m.restartAllDelay, ran)
	m.RestartAllUntil = now.Add(m.restartAllDelay)
}

// The waits after a failure before a pod's containers, doubling, and of one
// container.
const (
	setUpRetryFirst = 500 * time.Millisecond
	setUpRetryMax   = 30 * time.Second
	createRetry     = 5 * time.Second
	createRetryMax  = 40 * time.Second
)

// lostSandbox notes that a sandbox died under a step. The next decision replaces
// it at once. A runtime that goes on listing the same sandbox as ready is given a
// pause.
func (r *execution) lostSandbox(id string) {
	again := false
	r.owner.Update(func(m *Memory) { again, m.lost = m.lost == id, id })
	if again {
		r.backOff(plan.RetrySandbox, setUpRetryFirst, setUpRetryMax)
	}
}

// backOff postpones the next try of what name stands for: a container, or a key of
// plan.Situation.Retry.
func (r *execution) backOff(name string, first, most time.Duration) {
	r.owner.Update(func(m *Memory) {
		m.fails[name]++
		wait := min(first<<min(m.fails[name]-1, 16), most)
		m.Retry[name] = time.Now().Add(wait)
	})
}

// clearBackOff forgets the failures of what name stands for.
func (r *execution) clearBackOff(name string) {
	r.owner.Update(func(m *Memory) { m.ClearBackOff(name) })
}
