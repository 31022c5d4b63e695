package rules

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Open opens a stream to a node; hub.Server.OpenStream is one.
type Open func(ctx context.Context, node string, m hub.Message) (hub.Stream, error)

// Config sets up a Controller. Cloud and Dynamic are required; a controller.Controller sets
// them, Nodes and Logger where they are nil.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: to ask for users and their rights
	Dynamic dynamic.Interface    // the same, for the resources of rules.kubeedge.io
	// Nodes are the edge nodes; nil knows none: then no request is passed on to another
	// cloudcore, and a node that does not exist counts as away.
	Nodes *cache.Store[*corev1.Node]
	// Entry is the port for callers; nil opens none.
	Entry *EntryConfig
	// TargetCAs are the authorities of https:// URLs; nil means the system's.
	TargetCAs *x509.CertPool
	// LocalTargets lets rules call URLs at addresses of this machine (loopback) and
	// link-local ones, where clouds have services for the machine's own eyes.
	LocalTargets bool
	// Timeout bounds one request with its answer; 0 means 60s.
	Timeout time.Duration
	// Retry is the pause after a failed try of a message; it doubles up to a minute. 0 means
	// 1s.
	Retry time.Duration
	// StatusEvery is the least time between two writes of status; 0 means 10s.
	StatusEvery time.Duration
	// Messages gets each message that nodes send without a rule (edgecore
	// --rules-custom-messages), in the order of its topic filter. It must be quick, and
	// gets a message again that it returned an error for. nil refuses them.
	Messages func(ctx context.Context, node string, m wire.Message) error
	Logger   *slog.Logger // nil discards
}

// Controller is the cloud's half of rules.
type Controller struct {
	cfg       Config
	log       *slog.Logger
	guard     runguard.Guard
	rules     *cache.Store[*v1.Rule]
	endpoints *cache.Store[*v1.RuleEndpoint]
	messages  *cache.Store[*v1.RuleMessage] // without payloads
	notifier  nodesync.Notifier             // of rules
	arrivals  nodesync.Notifier             // of messages for nodes
	targets   *delivery.Targets
	queues    *delivery.Queues // messages of nodes
	statuses  *statuses
	entry     *entry // nil without Config.Entry

	mu         sync.Mutex
	namespaces map[string]map[string]*resolved // by namespace and name
	order      map[string][]*resolved          // those of a namespace by which answers first
	byNode     cache.Index[string]
	waiting    waitingIndex
	judging    bool          // rules and endpoints are known: changes are followed one by one
	judged     chan struct{} // closed when all rules have been judged once

	// runMu guards what Run sets. It is locked after every other mutex.
	runMu sync.Mutex
	open  Open // nil before Run
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Controller, error) {
	switch {
	case cfg.Cloud == nil || cfg.Dynamic == nil:
		return nil, errors.New("controller/rules: Config.Cloud and Dynamic are required")
	case cfg.Timeout < 0 || cfg.StatusEvery < 0 || cfg.Retry < 0:
		return nil, errors.New("controller/rules: Config.Timeout, Retry or StatusEvery is negative: leave it 0 for the default")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Second
	}
	if cfg.StatusEvery == 0 {
		cfg.StatusEvery = 10 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Controller{
		cfg: cfg, log: cfg.Logger, targets: newTargets(cfg),
		namespaces: make(map[string]map[string]*resolved), order: make(map[string][]*resolved),
		byNode: make(cache.Index[string]), judged: make(chan struct{}),
		waiting: waitingIndex{nodes: make(map[string]map[cache.Name]int)},
	}
	var err [4]error
	c.rules, err[0] = cache.NewDynamic(cfg.Dynamic, v1.GroupVersion().WithResource(resources.Rules),
		cache.Config[*v1.Rule]{Same: sameRule, Logger: cfg.Logger})
	c.endpoints, err[1] = cache.NewDynamic(cfg.Dynamic, v1.GroupVersion().WithResource(resources.RuleEndpoints),
		cache.Config[*v1.RuleEndpoint]{Logger: cfg.Logger})
	c.messages, err[2] = cache.NewDynamic(cfg.Dynamic, v1.GroupVersion().WithResource(resources.RuleMessages),
		cache.Config[*v1.RuleMessage]{Strip: stripPayload, Logger: cfg.Logger})
	c.queues, err[3] = c.newQueues()
	if err := errors.Join(err[:]...); err != nil {
		return nil, err
	}
	c.rules.OnChange(c.ruleChanged)
	c.endpoints.OnChange(func(change cache.Change[*v1.RuleEndpoint]) { c.resolve(change.Name.Namespace) })
	c.messages.OnChange(c.messageChanged)
	c.statuses = newStatuses(c)
	if cfg.Entry != nil {
		entry, err := newEntry(c, *cfg.Entry)
		if err != nil {
			return nil, err
		}
		c.entry = entry
	}
	return c, nil
}

// newTargets makes what calls the URLs of rules.
func newTargets(cfg Config) *delivery.Targets {
	return delivery.NewTargets(delivery.TargetsConfig{CAs: cfg.TargetCAs, Local: cfg.LocalTargets, Timeout: cfg.Timeout, Who: "rules", Setting: "rules-local-targets"})
}

// sameRule reports that a change of a Rule concerns its status alone.
func sameRule(before, after *v1.Rule) bool {
	return before.UID == after.UID && before.Generation == after.Generation && after.Generation != 0
}

// Run watches the API server, serves the entry and delivers messages until ctx ends; it then
// joins all that it started and returns nil. It may be called once.
func (c *Controller) Run(ctx context.Context, open Open) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	c.runMu.Lock()
	c.open = open
	c.runMu.Unlock()
	for _, run := range []func(context.Context) error{c.rules.Run, c.endpoints.Run, c.messages.Run, c.statuses.run, c.expire, c.judgeAll, c.queues.Run} {
		g.Go(func() error { return run(ctx) })
	}
	if c.entry != nil {
		g.Go(func() error { return c.entry.run(ctx) })
	}
	err := g.Wait()
	c.targets.Close()
	return err
}

// judgeAll judges all rules once rules and endpoints are known. Before, an endpoint may be
// missing here only, and each rule of the first list would have its whole namespace judged.
func (c *Controller) judgeAll(ctx context.Context) error {
	if !cache.WaitSynced(ctx, c.rules.Synced(), c.endpoints.Synced()) {
		return nil
	}
	c.mu.Lock()
	c.judging = true
	c.mu.Unlock()
	namespaces := make(map[string]struct{})
	for _, name := range c.rules.Names() {
		namespaces[name.Namespace] = struct{}{}
	}
	for namespace := range namespaces {
		c.resolve(namespace)
	}
	close(c.judged)
	return nil
}

// Synced returns channels that are closed when rules and endpoints are known.
func (c *Controller) Synced() []<-chan struct{} { return []<-chan struct{}{c.judged} }

// synced reports whether rules and endpoints are known.
func (c *Controller) synced() bool {
	select {
	case <-c.judged:
		return true
	default:
		return false
	}
}

// ruleChanged follows a change of a Rule.
func (c *Controller) ruleChanged(change cache.Change[*v1.Rule]) {
	if !change.Same || !c.refresh(change.Name, change.New) {
		c.resolve(change.Name.Namespace)
	}
}

// refresh puts the newest form of a Rule in place whose status alone has changed: the other
// rules need not be judged for it. It reports false if the rule is not known.
func (c *Controller) refresh(name cache.Name, rule *v1.Rule) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.namespaces[name.Namespace][name.Name]
	if old == nil || old.rule.UID != rule.UID {
		return false
	}
	next := *old
	next.rule = rule
	order := slices.Clone(c.order[name.Namespace]) // others may read the old one
	order[slices.Index(order, old)] = &next
	c.namespaces[name.Namespace][name.Name], c.order[name.Namespace] = &next, order
	return true
}

// resolve joins the rules of a namespace again and notifies the nodes that this concerns. It
// does nothing before judgeAll.
func (c *Controller) resolve(namespace string) {
	c.mu.Lock()
	if !c.judging {
		c.mu.Unlock()
		return
	}
	var items []cache.Item[*v1.Rule]
	for _, name := range c.rules.Names() {
		if name.Namespace != namespace {
			continue
		}
		if item, ok := c.rules.Load(name); ok {
			items = append(items, item)
		}
	}
	before := c.namespaces[namespace]
	order := resolve(items, func(name string) (cache.Item[*v1.RuleEndpoint], bool) {
		return c.endpoints.Load(cache.Name{Namespace: namespace, Name: name})
	})
	after := make(map[string]*resolved, len(order))
	for _, r := range order {
		after[r.name.Name] = r
	}
	c.namespaces[namespace], c.order[namespace] = after, order
	if len(after) == 0 {
		delete(c.namespaces, namespace)
		delete(c.order, namespace)
	}
	changed := c.indexLocked(before, after)
	c.mu.Unlock()
	for node, keys := range changed {
		c.notifier.Notify(node, keys...)
	}
	for _, r := range order {
		c.statuses.judged(r)
	}
}

// indexLocked brings the index by node in line and returns which keys of which nodes have
// changed. It needs mu.
func (c *Controller) indexLocked(before, after map[string]*resolved) map[string][]hub.Key {
	changed := make(map[string][]hub.Key)
	note := func(old, now *resolved) {
		was, is := old.node(), now.node()
		if old.ok() == now.ok() && was == is && (old == nil || now == nil || old.version == now.version) {
			return
		}
		either := now
		if either == nil {
			either = old
		}
		name := either.name
		key := hub.Key{Resource: resources.Rules, Namespace: name.Namespace, Name: name.Name}
		if was != "" {
			c.byNode.Remove(was, name)
			changed[was] = append(changed[was], key)
		}
		if is != "" {
			c.byNode.Add(is, name)
			if is != was {
				changed[is] = append(changed[is], key)
			}
		}
	}
	for name, now := range after {
		note(before[name], now)
	}
	for name, old := range before {
		if after[name] == nil {
			note(old, nil)
		}
	}
	return changed
}

// rule returns a rule as it is now; nil if there is none.
func (c *Controller) rule(name cache.Name) *resolved {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.namespaces[name.Namespace][name.Name]
}

// Handle has mux serve the streams of nodes for rules whose source is servicebus.
func (c *Controller) Handle(mux *hub.Mux) { mux.HandleStream(resources.RuleProxy, c) }
