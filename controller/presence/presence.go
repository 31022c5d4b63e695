package presence

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/live"
	"github.com/edgekit/edgekit/hub"
)

// What cloudcore writes on Nodes and Leases.
const (
	// Domain begins the names of all annotations that cloudcore and operators,
	// and not the node itself, set on a Node.
	Domain = "edgekit.io/"
	// RoleLabel marks an edge node; kubectl shows it as the role "edge".
	RoleLabel = "node-role.kubernetes.io/edge"
	// ConditionConnected is the Node condition that tells whether the node's
	// link stands, since when, and why not.
	ConditionConnected corev1.NodeConditionType = "EdgeConnected"
	// DisconnectedTaint keeps new pods from a node whose link is down. Its
	// effect is NoSchedule: what runs there stays.
	DisconnectedTaint = "edgekit.io/disconnected"
	// AutonomyLabel on a Node says how long the node keeps its pods without a
	// link: a duration ("72h"), AutonomyForever, which is the default, or
	// AutonomyOff. NodeRestriction keeps nodes from labels of this domain; their
	// annotations they may write.
	AutonomyLabel = "edgekit.node-restriction.kubernetes.io/autonomy"
	// HolderAnnotation on a node's record, and for people on its Lease, names the
	// cloudcore that looks after the node; SinceAnnotation on the record is when
	// the session that it holds or held began.
	HolderAnnotation = "edgekit.io/cloudcore"
	SinceAnnotation  = "edgekit.io/session-since"
	// SaidAnnotation on a Lease is what the node last said of itself, its
	// conditions in short, in case Kubernetes overwrites them while no
	// cloudcore runs.
	SaidAnnotation = "edgekit.io/node-said"
)

// Times that are the same for all cloudcores of a cluster.
const (
	// RenewEvery is the time between two renewals of a Lease.
	RenewEvery = 10 * time.Second
	// LeaseDuration is what a Lease says of itself.
	LeaseDuration = 40 * time.Second
	// StaleAfter is when a Lease that nobody renews may be taken over. With
	// RenewEvery it gives at most 25 s without a renewal, well below the 50 s
	// after which Kubernetes' node controller doubts a node.
	StaleAfter = 15 * time.Second
	// Grace is how long a lost link is not yet called a lost link, so that a
	// restart of cloudcore or a change of networks changes no Node.
	Grace = 5 * time.Second

	tick       = time.Second // between two looks at which nodes are due
	retryAfter = 2 * time.Second
)

// Config sets up a Keeper. Cloud, AsNode, Nodes and ID are required.
type Config struct {
	Cloud  kubernetes.Interface      // cloudcore's own identity: conditions and taints
	AsNode kubernetes.Interface      // package asnode's client: leases
	Nodes  *live.Store[*corev1.Node] // the edge nodes; not yet running when New is called
	ID     string                    // this cloudcore, unique for each start of the program
	// Kept is called about each node that this cloudcore keeps, after its
	// Lease was renewed, at most Writes at the same time; nil does nothing.
	Kept func(ctx context.Context, node string) error
	// Superseded is told of a node whose newest session stands at another
	// cloudcore: hub.Server.Supersede. nil leaves the older one alone.
	Superseded func(node string, by hub.Claim)
	Namespace  string       // of the records of who holds a node; "" means install.Namespace
	Logger     *slog.Logger // nil discards
	Writes     int          // Kubernetes calls at the same time; 0 means 32
}

// Keeper looks after the leases, conditions and taints of edge nodes. Its
// methods may be called by several goroutines at once.
type Keeper struct {
	cfg  Config
	wake chan struct{} // holds one value: a node is due at once

	mu    sync.Mutex
	nodes map[string]*node
	queue queue
}

// node is what the Keeper knows of one node. The worker that has it busy owns
// lease and record; everything else is under the Keeper's mu.
type node struct {
	name    string
	session Session
	due     time.Time
	place   int // in the Keeper's queue; -1 while it is busy
	busy    bool
	again   bool // became due while busy
	first   bool // not looked at since Run began
	failed  bool // the last attempt; logged once

	lease  *coordinationv1.Lease // as last seen; nil if unknown
	record *coordinationv1.Lease // as last read, at recordAt; nil if there is none

	recordAt time.Time
}

// Session is what is known here about a node's link.
type Session struct {
	Known     bool   // a session was here since this program started
	Connected bool   // and it stands
	Epoch     uint64 // of the newest session
	Since     time.Time
	Reason    string    // why it went
	Started   time.Time // when the newest session began
	Seat      hub.Claim // that was claimed here last; zero if none was
}

// New checks the configuration.
func New(cfg Config) (*Keeper, error) {
	if cfg.Cloud == nil || cfg.AsNode == nil || cfg.Nodes == nil || cfg.ID == "" {
		return nil, errors.New("presence: Config.Cloud, AsNode, Nodes and ID are required")
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
	k := &Keeper{cfg: cfg, wake: make(chan struct{}, 1), nodes: make(map[string]*node)}
	cfg.Nodes.OnChange(k.nodeChanged)
	return k, nil
}

// Run renews leases until ctx ends; it then waits for writes under way and
// returns nil. It may be called once.
func (k *Keeper) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-k.cfg.Nodes.Synced():
	}
	k.allDue(time.Now())
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var g errgroup.Group
	g.SetLimit(k.cfg.Writes)
	for {
		for _, n := range k.takeDue(time.Now()) {
			g.Go(func() error { // blocks while the limit is reached
				k.attend(ctx, n)
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

// Connected takes the client info of a node's sessions, in any order: what an
// older session says after a newer one has begun is ignored.
func (k *Keeper) Connected(info hub.Info) {
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
		k.dueLocked(n, now)
		return
	}
	k.dueLocked(n, now.Add(Grace))
}

// nodeChanged follows the Nodes in the API server.
func (k *Keeper) nodeChanged(c live.Change[*corev1.Node]) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if c.New == nil {
		if n := k.nodes[c.Name.Name]; n != nil && !n.session.Connected {
			delete(k.nodes, c.Name.Name)
			k.queue.drop(n)
		}
		return
	}
	n := k.nodeLocked(c.Name.Name, now)
	if c.Old == nil && n.session.Connected {
		k.dueLocked(n, now)
	}
}

// nodeLocked gives the record of a node. A new one is first due within
// RenewEvery, at a time that depends on its name, which spreads the load.
func (k *Keeper) nodeLocked(name string, now time.Time) *node {
	n := k.nodes[name]
	if n == nil {
		n = &node{name: name, place: -1}
		k.nodes[name] = n
		k.queue.set(n, now.Add(spread(name)))
	}
	return n
}

// spread is a time within RenewEvery that depends on the node's name, so that
// the work on many nodes is spread.
func spread(name string) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return time.Duration(h.Sum32()) % RenewEvery
}

func (k *Keeper) dueLocked(n *node, at time.Time) {
	n.due, n.again = at, n.busy
	if !n.busy {
		k.queue.set(n, at)
	}
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// takeDue gives the nodes that are due and marks them busy.
func (k *Keeper) takeDue(now time.Time) []*node {
	k.mu.Lock()
	defer k.mu.Unlock()
	due := k.queue.take(now)
	for _, n := range due {
		n.busy, n.again = true, false
	}
	return due
}

// allDue has every known node looked at now. It is the first thing that a
// cloudcore does: leases may have been without renewal for as long as none ran,
// and Kubernetes doubts a node after 50 s.
func (k *Keeper) allDue(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, n := range k.nodes {
		n.first = true
		k.queue.set(n, now)
	}
}

// attend does what is due for one node and sets when it is due next.
func (k *Keeper) attend(ctx context.Context, n *node) {
	k.mu.Lock()
	session, first := n.session, n.first
	n.first = false
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, RenewEvery)
	defer cancel()
	err := k.keep(ctx, n, session)
	next := RenewEvery
	switch {
	case err != nil:
		next = retryAfter
	case first:
		next = spread(n.name) // from here on at a time of its own
	}
	k.mu.Lock()
	log := err != nil && !n.failed && ctx.Err() == nil
	n.failed = err != nil
	n.busy = false
	if !n.again {
		n.due = time.Now().Add(next)
	}
	if k.nodes[n.name] == n { // not if its Node was deleted meanwhile
		k.queue.set(n, n.due)
	}
	k.mu.Unlock()
	if log {
		k.cfg.Logger.Error("node's lease or condition not written", "node", n.name, "error", err)
	}
}

// keep renews the node's Lease if that is for this cloudcore to do, and then
// sees to it that the Node tells the truth.
func (k *Keeper) keep(ctx context.Context, n *node, session Session) error {
	item, ok := k.cfg.Nodes.Load(live.Name{Name: n.name})
	if !ok {
		return nil // not registered yet: nodeChanged comes back to it
	}
	verdict, err := k.renew(ctx, n, item.Object, session)
	if err != nil || verdict == leave {
		return err
	}
	now := time.Now()
	if session.Known && !session.Connected && now.Sub(session.Since) < Grace {
		return nil
	}
	conditions := []corev1.NodeCondition{want(item.Object, session, now)}
	if verdict == take {
		conditions = append(conditions, restored(item.Object, n.lease.Annotations[SaidAnnotation], now)...)
	}
	if err := k.tell(ctx, item.Object, conditions); err != nil {
		return fmt.Errorf("presence: %w", err)
	}
	if verdict == take && k.cfg.Kept != nil {
		return k.cfg.Kept(ctx, n.name)
	}
	return nil
}
