package nodelifecycle

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/hub"
)

// What cloudcore writes on Nodes and Leases.
const (
	// Domain is the prefix of all annotations that cloudcore and operators set on a Node,
	// and that the node itself may not set.
	Domain = "edgekit.io/"
	// RoleLabel marks an edge node; kubectl shows it as the role "edge".
	RoleLabel = "node-role.kubernetes.io/edge"
	// ConditionConnected is the Node condition for the node's link: whether it
	// is up, since when, and if not, why.
	ConditionConnected corev1.NodeConditionType = "EdgeConnected"
	// DisconnectedTaint keeps new pods from a node whose link is down. Its
	// effect is NoSchedule: what runs there stays.
	DisconnectedTaint = "edgekit.io/disconnected"
	// AutonomyLabel on a Node is how long the node keeps its pods without a link: a
	// duration ("72h"), AutonomyForever, which is the default, or AutonomyOff.
	// NodeRestriction keeps nodes from labels of this domain; annotations of any
	// domain they may write.
	AutonomyLabel = "edgekit.node-restriction.kubernetes.io/autonomy"
	// HolderAnnotation names the cloudcore that holds the node. On the node's record it
	// decides; on its Lease it is for people. SinceAnnotation on the record is when the
	// session of that cloudcore began.
	HolderAnnotation = "edgekit.io/cloudcore"
	SinceAnnotation  = "edgekit.io/session-since"
	// ReportedConditionsAnnotation on a Lease has the node's own conditions in
	// short, for the case that Kubernetes overwrites them while no cloudcore runs.
	ReportedConditionsAnnotation = "edgekit.io/node-said"
)

// Times that are the same for all cloudcores of a cluster.
const (
	// RenewEvery is the time between two renewals of a Lease.
	RenewEvery = 10 * time.Second
	// LeaseDuration is the leaseDurationSeconds of a Lease, kubelet's default.
	LeaseDuration = 40 * time.Second
	// StaleAfter is when a Lease that nobody renews may be taken over. With
	// RenewEvery it gives at most 25 s without a renewal, well below the 50 s
	// after which Kubernetes' node lifecycle controller sets its conditions to
	// Unknown (--node-monitor-grace-period).
	StaleAfter = 15 * time.Second
	// Grace is how long a lost link does not yet count as lost, so that a
	// restart of cloudcore or a change of networks changes no Node.
	Grace = 5 * time.Second

	tick       = time.Second // between two looks at which nodes are due
	retryAfter = 2 * time.Second

	// restoreDelay is how long PodsMarked waits for further pods of the node.
	restoreDelay = time.Second
)

// Config sets up a Controller. Cloud, NodeClient, Nodes and ID are required.
type Config struct {
	Cloud      kubernetes.Interface       // cloudcore's own identity: conditions and taints
	NodeClient kubernetes.Interface       // controller.NewNodeClient: leases
	Nodes      *cache.Store[*corev1.Node] // the edge nodes; not yet running when New is called
	ID         string                     // this cloudcore, unique for each start of the program
	// Renewed is called for each node that this cloudcore keeps, after its Lease was renewed, at
	// most Writes at the same time; nil does nothing. It is not called for a node whose pods are
	// due for NotReady. It restores the readiness of the node's pods that others have set to not
	// ready since a time; zero means all of them. That time is the start of the session during
	// the first ReportGrace of a session, and zero otherwise. Renewed reports whether pods are
	// left that may be restored later.
	Renewed func(ctx context.Context, node string, since time.Time) (left bool, err error)
	// NotReady is called for each node that has been without a link for NotReadyAfter, while
	// this cloudcore looks after the node. It sets the node's pods to not ready and returns
	// their number. It is called again every RenewEvery, for pods that became ready
	// meanwhile. ctx ends when the node has a link again. nil leaves pods as they are.
	NotReady func(ctx context.Context, node string, since time.Time) (pods int, err error)
	// NotReadyAfter is that time; 0 means DefaultNotReadyAfter, negative means never.
	// NotReadyAfterLabel overrides it for a node.
	NotReadyAfter time.Duration
	// ReconnectGrace is how long after the start of Run NotReady is not called at all: nodes
	// that lost their link with the end of another cloudcore get the time to connect again. 0
	// means DefaultReconnectGrace, negative gives no time.
	ReconnectGrace time.Duration
	// Members are the cloudcores that run. What another one of them looks after is not read again
	// and again, and what nobody looks after is shared among them. nil knows of no other.
	Members   *members.Members
	Namespace string       // of the records of who holds a node; "" means install.Namespace
	Logger    *slog.Logger // nil discards
	Writes    int          // Kubernetes calls at the same time; 0 means 32
}

// Controller looks after the leases, conditions and taints of edge nodes. Its
// methods may be called by several goroutines at once.
type Controller struct {
	cfg       Config
	guard     runguard.Guard
	supersede func(node string, by hub.Claim) // set by Run; may be nil
	wake      chan struct{}                   // holds one value: a node is due at once
	began     time.Time                       // of Run; set before the workers that read it

	disconnected disconnected

	mu    sync.Mutex
	nodes map[string]*node
	queue queue
}

// node is what the Controller knows of one node. The worker that handles it owns lease and all
// below it; the Controller's mu guards the rest.
type node struct {
	name    string
	session Session
	due     time.Time
	index   int // in the Controller's queue; -1 while it is busy
	busy    bool
	again   bool // became due while busy
	left    bool // Config.Renewed has left pods for later
	first   bool // not looked at since Run began
	failed  bool // the last attempt; logged once

	lease  *coordinationv1.Lease // as last seen; nil if unknown
	record *coordinationv1.Lease // as last read, at recordReadAt; nil if there is none

	holder       holder // the other cloudcore that looks after the node, as last read
	recordReadAt time.Time
	renewedFor   *metav1.MicroTime // the last renewal of the Lease in its holder's place (see renewFor); nil if there is none
	absent       time.Time         // since when the Lease is not found; zero if it is there
	found        time.Time         // the last renewal by the cloudcore from which this one took the node over; zero if it did not
	notReadyAt   time.Time         // when the node's pods will be due for NotReady; zero if they are, or need not be
}

// Session is the state of a node's link as far as this cloudcore knows it.
type Session struct {
	Known     bool   // a session was here since this program started, and none at another cloudcore since
	Connected bool   // and it has not ended
	Epoch     uint64 // of the newest session
	Since     time.Time
	Reason    string    // why it went
	Started   time.Time // when the newest session began
	Claimed   hub.Claim // that was claimed here last; zero if none was
}

// New checks the configuration.
func New(cfg Config) (*Controller, error) {
	if cfg.Cloud == nil || cfg.NodeClient == nil || cfg.Nodes == nil || cfg.ID == "" {
		return nil, errors.New("nodelifecycle: Config.Cloud, NodeClient, Nodes and ID are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = install.Namespace
	}
	if cfg.Writes == 0 {
		cfg.Writes = 32
	}
	if cfg.NotReadyAfter == 0 {
		cfg.NotReadyAfter = DefaultNotReadyAfter
	}
	if cfg.ReconnectGrace == 0 {
		cfg.ReconnectGrace = DefaultReconnectGrace
	}
	k := &Controller{cfg: cfg, wake: make(chan struct{}, 1), nodes: make(map[string]*node), disconnected: newDisconnected()}
	cfg.Nodes.OnChange(k.nodeChanged)
	return k, nil
}

// Run renews Leases until ctx ends; it then waits for running writes and returns nil.
// superseded is called with a node whose newest session is at another cloudcore:
// hub.Server.Supersede ends the older one here. nil leaves the older one alone. A second Run
// returns controller.ErrStarted.
func (k *Controller) Run(ctx context.Context, superseded func(node string, by hub.Claim)) error {
	if err := k.guard.Start(); err != nil {
		return err
	}
	k.supersede = superseded // before the workers that read it
	select {
	case <-ctx.Done():
		return nil
	case <-k.cfg.Nodes.Synced():
	}
	k.began = time.Now()
	k.scheduleAll(k.began)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return k.runDisconnected(ctx) })
	g.Go(func() error { return k.runRenewals(ctx) })
	return g.Wait()
}

// runRenewals handles the nodes that are due until ctx ends, and then waits for those that it is at.
func (k *Controller) runRenewals(ctx context.Context) error {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var g errgroup.Group
	g.SetLimit(k.cfg.Writes)
	for {
		for _, n := range k.nextDue(time.Now()) {
			g.Go(func() error { // blocks while the limit is reached
				k.processNode(ctx, n)
				return nil
			})
		}
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-ticker.C:
		case <-k.wake:
		}
	}
}

// Connected receives the client info of a node's sessions, in any order: it ignores that of a
// session older than the newest.
func (k *Controller) Connected(info hub.Info) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodeLocked(info.Node, now)
	s := &n.session
	if info.Epoch < s.Epoch || info.Epoch == s.Epoch && !s.Connected && s.Known {
		return
	}
	if info.Epoch > s.Epoch || !s.Known {
		s.Started = info.Since
	}
	s.Known, s.Epoch, s.Connected, s.Since, s.Reason = true, info.Epoch, info.Connected, info.Since, info.Reason
	if info.Connected {
		k.unmark(info.Node)
		k.scheduleLocked(n, now)
		return
	}
	k.scheduleLocked(n, now.Add(Grace))
}

// PodsMarked has the readiness of a node's pods restored soon (Config.Renewed), if the node has a
// session here: others have set pods of it to not ready. Its owner calls it for each such pod.
func (k *Controller) PodsMarked(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := k.nodes[name]; n != nil {
		k.restoreSoonLocked(n)
	}
}

// restoreSoonLocked has a node with a session here due within restoreDelay.
func (k *Controller) restoreSoonLocked(n *node) {
	at := time.Now().Add(restoreDelay)
	done := n.busy && !n.again // due is when the look began that is under way
	if n.session.Connected && (done || n.due.After(at)) {
		k.scheduleLocked(n, at)
	}
}

// nodeChanged follows the Nodes in the API server.
func (k *Controller) nodeChanged(c cache.Change[*corev1.Node]) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.New == nil {
		if n := k.nodes[c.Name.Name]; n != nil && !n.session.Connected {
			delete(k.nodes, c.Name.Name)
			k.queue.remove(n)
		}
		k.unmark(c.Name.Name)
		return
	}
	n := k.nodeLocked(c.Name.Name, now)
	if link := nodeCondition(c.New, ConditionConnected); link != nil && link.Status == corev1.ConditionTrue {
		k.unmark(n.name) // it has a link, here or at another cloudcore
		if s := &n.session; !s.Connected && link.LastTransitionTime.After(s.Since) {
			s.Known = false // the node has been at another cloudcore since
		}
	}
	if c.Old == nil && n.session.Connected {
		k.scheduleLocked(n, now)
	}
	if n.left && c.Old != nil && !isReady(c.Old) && isReady(c.New) {
		k.restoreSoonLocked(n) // until now Kubernetes would have set the pods to not ready again
	}
}

// nodeLocked returns the record of a node. A new one is first due within
// RenewEvery, at a time that depends on its name, which spreads the load.
func (k *Controller) nodeLocked(name string, now time.Time) *node {
	n := k.nodes[name]
	if n == nil {
		n = &node{name: name, index: -1}
		k.nodes[name] = n
		k.queue.set(n, now.Add(spread(name)))
	}
	return n
}

func (k *Controller) scheduleLocked(n *node, at time.Time) {
	n.due, n.again = at, n.busy
	if !n.busy {
		k.queue.set(n, at)
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// nextDue returns the nodes that are due and marks them busy.
func (k *Controller) nextDue(now time.Time) []*node {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := k.queue.popDue(now)
	for _, n := range due {
		n.busy, n.again = true, false
	}
	return due
}

// scheduleAll makes every known node due. A cloudcore does this first: while none ran, nobody
// renewed the Leases, and after 50 s Kubernetes sets a node's conditions to Unknown.
func (k *Controller) scheduleAll(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.nodes {
		n.first = true
		k.queue.set(n, now)
	}
}
