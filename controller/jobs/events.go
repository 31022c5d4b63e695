package jobs

import (
	"context"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Reasons of the events of a job.
const (
	EventStarted   = "Started"   // Normal: the first nodes were given the job
	EventBatch     = "NextBatch" // Normal: a batch is done and the next one begins
	EventCompleted = "Completed" // Normal: the job has ended well
	EventFailed    = "Failed"    // Warning: the job has ended, and not well
	EventPaused    = "Paused"    // Normal: no further node begins
	EventNodes     = "NodesFailed"
)

// A job has at most eventBurst events at once and one in eventEvery on average.
const (
	eventEvery = 30 * time.Second
	eventBurst = 20
)

// recordProgress creates events for what changed between two statuses of a job.
func (c *Controller) recordProgress(ctx context.Context, j *job, st *v1alpha2.JobStatus) {
	old := &j.status
	if old.StartTime == nil && st.StartTime != nil {
		c.event(ctx, j, corev1.EventTypeNormal, EventStarted, fmt.Sprintf("the job has begun, for %d nodes", st.Nodes.Total))
	}
	if old.Batch > 0 && st.Batch > old.Batch {
		c.event(ctx, j, corev1.EventTypeNormal, EventBatch, fmt.Sprintf("batch %d begins: %s nodes are done", st.Batch, st.Progress))
	}
	if old.Reason != st.Reason && st.Reason == v1alpha2.ReasonPaused {
		c.event(ctx, j, corev1.EventTypeNormal, EventPaused, st.Message)
	}
	if names := newFailures(old, st); names != "" {
		c.event(ctx, j, corev1.EventTypeWarning, EventNodes, names)
	}
	if old.Phase != st.Phase && st.Phase == v1alpha2.JobCompleted {
		c.counts.ended.Add(1)
		c.event(ctx, j, corev1.EventTypeNormal, EventCompleted, fmt.Sprintf("%s nodes are done, %d failed", st.Progress, st.Nodes.Failed))
	}
	if old.Phase != st.Phase && st.Phase == v1alpha2.JobFailure {
		c.counts.ended.Add(1)
		c.counts.failed.Add(1)
		c.event(ctx, j, corev1.EventTypeWarning, EventFailed, st.Reason+": "+st.Message)
	}
}

// maxNamed is how many nodes an event names.
const maxNamed = 5

// newFailures names the nodes that failed between two statuses; "" if there are none.
func newFailures(old, st *v1alpha2.JobStatus) string {
	more := int(st.Nodes.Failed - old.Nodes.Failed)
	if more <= 0 {
		return ""
	}
	before := make(map[string]bool)
	for i := range old.NodeStatus {
		if isFailed(old.NodeStatus[i].Phase) {
			before[old.NodeStatus[i].NodeName] = true
		}
	}
	var named []string
	for i := range st.NodeStatus {
		if s := &st.NodeStatus[i]; isFailed(s.Phase) && !before[s.NodeName] && len(named) < maxNamed {
			named = append(named, fmt.Sprintf("%s (%s %s)", s.NodeName, s.Phase, s.Reason))
		}
	}
	return fmt.Sprintf("%d more nodes failed: %s", more, strings.Join(named, ", "))
}

func isFailed(p v1alpha2.NodeTaskPhase) bool {
	return p == v1alpha2.NodeFailure || p == v1alpha2.NodeRolledBack || p == v1alpha2.NodeUnknown
}

// event creates an event of a job. It is lost if the API server does not take it.
func (c *Controller) event(ctx context.Context, j *job, kind, reason, message string) {
	if !c.events.allow(string(j.meta.UID), time.Now()) {
		return
	}
	id := fnv.New64a()
	fmt.Fprint(id, reason, message, time.Now().UnixNano())
	now := metav1.NewTime(time.Now())
	_, err := c.cfg.Cloud.CoreV1().Events(metav1.NamespaceDefault).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%.200s.%x", j.meta.Name, id.Sum64())},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: v1alpha2.GroupVersion().String(), Kind: j.kind, Name: j.meta.Name, UID: j.meta.UID, ResourceVersion: j.meta.ResourceVersion,
		},
		Type: kind, Reason: reason, Message: fmt.Sprintf("%.900s", message),
		Source:         corev1.EventSource{Component: "cloudcore"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
		c.log.Warn("an event of a job could not be created", "kind", j.kind, "job", j.meta.Name, "reason", reason, "err", err)
	}
}

// eventLimits bounds the events of each job. The zero value is ready.
type eventLimits struct {
	mu sync.Mutex
	of map[string]*rate.Limiter
}

// allow reports whether the job may have an event more now.
func (e *eventLimits) allow(uid string, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.of == nil {
		e.of = make(map[string]*rate.Limiter)
	}
	if e.of[uid] == nil {
		e.of[uid] = rate.NewLimiter(rate.Every(eventEvery), eventBurst)
	}
	return e.of[uid].AllowN(now, 1)
}

// forget drops what is known of a job that is gone.
func (e *eventLimits) forget(uid string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.of, uid)
}
