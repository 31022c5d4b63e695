package nodelifecycle

import (
	"context"
	"fmt"
	"hash/fnv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
)

// notReadyNodes is for how many nodes Config.NotReady runs at the same time.
const notReadyNodes = 8

// disconnected is what the Controller does about the pods of nodes that have been without a link
// for long. It has a loop of its own, since a node may have many pods and the renewal of Leases
// must not wait for them.
type disconnected struct {
	wake chan struct{} // holds one value: a node was added

	mu      sync.Mutex
	queue   []string                      // nodes in the order in which they became due
	pending map[string]absence            // those in queue whose turn has not come
	running map[string]context.CancelFunc // those that NotReady runs for
	marked  map[string]bool               // those for which it has succeeded
	stats   Stats
}

func newDisconnected() disconnected {
	return disconnected{
		wake: make(chan struct{}, 1), pending: make(map[string]absence),
		running: make(map[string]context.CancelFunc), marked: make(map[string]bool),
	}
}

// absence is a node's absence.
type absence struct {
	since time.Time
	hint  string // about the node's policy
}

// Stats counts what became of the pods of nodes without a link.
type Stats struct {
	// Nodes is how many nodes are without a link for so long that their pods are not ready.
	// A node counts at the cloudcore that looks after it.
	Nodes int
	// Pods is how many pods were set to not ready, since the program started.
	Pods uint64
	// Failed is how many times this failed and was tried again.
	Failed uint64
}

// Stats returns the counts.
func (k *Controller) Stats() Stats {
	d := &k.disconnected
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Nodes = len(d.marked)
	return s
}

// markIfDue has the node's pods set to not ready if it is time to do so. Else it remembers when
// to look next. It is called for a node that this cloudcore looks after.
func (k *Controller) markIfDue(n *node, obj *corev1.Node, session Session, now time.Time) {
	n.notReadyAt = time.Time{}
	if k.cfg.NotReady == nil {
		return
	}
	p := notReadyPolicyOf(obj, k.cfg.NotReadyAfter)
	since, lost := lostAt(obj, session, n.found)
	if !lost || p.never {
		k.unmark(n.name)
		return
	}
	at := since.Add(p.after)
	if reconnect := k.began.Add(k.cfg.ReconnectGrace); at.Before(reconnect) {
		at = reconnect
	}
	if now.Before(at) {
		n.notReadyAt = at
		k.unmark(n.name)
		return
	}
	k.disconnected.add(n.name, absence{since, p.hint()})
}

// mayRestore reports whether Config.Renewed may set the node's pods to ready.
func (k *Controller) mayRestore(n *node, obj *corev1.Node, session Session, now time.Time) bool {
	if session.Connected {
		return true
	}
	p := notReadyPolicyOf(obj, k.cfg.NotReadyAfter)
	since, lost := lostAt(obj, session, n.found)
	return p.never || !lost || now.Sub(since) < p.after || k.cfg.NotReady == nil
}

// restoreSince returns the time since which pods must have been set to not ready for
// Config.Renewed to restore them; zero means all. A pod that was set to not ready during the
// session is as ready as the node has last reported it. One that was set to not ready before may
// have changed while the node was away: the node has ReportGrace to report it.
func restoreSince(session Session, now time.Time) time.Time {
	if session.Connected && now.Sub(session.Since) < ReportGrace {
		return session.Since
	}
	return time.Time{}
}

// add puts a node into the queue, unless it waits or is being handled already.
func (d *disconnected) add(node string, a absence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, waits := d.pending[node]; waits || d.running[node] != nil {
		return
	}
	d.pending[node] = a
	d.queue = append(d.queue, node)
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// unmark ends what is being done about the pods of a node: it has a link again, or another
// cloudcore looks after it.
func (k *Controller) unmark(node string) {
	d := &k.disconnected
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.pending, node)
	delete(d.marked, node)
	if stop := d.running[node]; stop != nil {
		stop()
	}
}

// next returns the node whose turn it is. The context ends with unmark.
func (d *disconnected) next(ctx context.Context) (context.Context, string, absence, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		node := d.queue[0]
		d.queue = d.queue[1:]
		a, waits := d.pending[node]
		if !waits {
			continue
		}
		delete(d.pending, node)
		ctx, d.running[node] = context.WithCancel(ctx)
		return ctx, node, a, true
	}
	return nil, "", absence{}, false
}

// runDisconnected handles nodes until ctx ends, and then waits for those that it is at.
func (k *Controller) runDisconnected(ctx context.Context) error {
	d := &k.disconnected
	var g errgroup.Group
	g.SetLimit(notReadyNodes)
	for {
		for {
			own, node, a, ok := d.next(ctx)
			if !ok {
				break
			}
			g.Go(func() error { // blocks while the limit is reached
				k.mark(ctx, own, node, a)
				return nil
			})
		}
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-d.wake:
		}
	}
}

// mark sets the pods of one node to not ready. own ends when the node is back.
func (k *Controller) mark(ctx, own context.Context, name string, a absence) {
	d := &k.disconnected
	pods, err := k.cfg.NotReady(own, name, a.since)
	cut := own.Err() != nil
	d.mu.Lock()
	d.running[name]() // frees the context
	delete(d.running, name)
	d.stats.Pods += uint64(pods)
	switch {
	case err == nil && !cut:
		d.marked[name] = true
	case !cut:
		d.stats.Failed++
	}
	d.mu.Unlock()
	if err != nil && !cut {
		k.cfg.Logger.Warn("pods of a disconnected node could not be set to not ready", "node", name, "err", err)
	}
	if pods > 0 && !cut {
		k.cfg.Logger.Info("pods of a disconnected node are not ready", "node", name, "since", a.since, "pods", pods)
		k.event(ctx, name, corev1.EventTypeWarning, ReasonPodsNotReady, fmt.Sprintf(
			"the node has had no link to the cloud since %s: Ready of %d of its pods was set to False, so that Services do not lead there; they keep running, and nothing is evicted%s",
			a.since.UTC().Format(time.RFC3339), pods, a.hint))
	}
}

// reconnected writes an event if the node was away for so long that its pods were not ready.
// obj is the Node as it was while the node was away.
func (k *Controller) reconnected(ctx context.Context, obj *corev1.Node, now time.Time) {
	since, tainted := taintedAt(obj)
	p := notReadyPolicyOf(obj, k.cfg.NotReadyAfter)
	if k.cfg.NotReady == nil || !tainted || p.never || now.Sub(since) < p.after {
		return
	}
	k.event(ctx, obj.Name, corev1.EventTypeNormal, ReasonNodeReconnected, fmt.Sprintf(
		"the node, which had no link to the cloud since %s, has one again: its pods are as ready as it reports them", since.UTC().Format(time.RFC3339)))
}

// event writes an event about a node, as the node. Its name depends on the content, so that
// several cloudcores create one event.
func (k *Controller) event(ctx context.Context, node, kind, reason, message string) {
	now := metav1.Now()
	hash := fnv.New64a()
	hash.Write([]byte(reason + message)) // which names the time of the cut
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%.200s.%x", node, hash.Sum64())},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)},
		Type:           kind, Reason: reason, Message: message,
		Source:         corev1.EventSource{Component: "cloudcore"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	_, err := k.cfg.NodeClient.CoreV1().Events(event.Namespace).Create(impersonate.With(ctx, node), event, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		k.cfg.Logger.Warn("an event could not be written", "node", node, "reason", reason, "err", err)
	}
}
