package devices

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/workqueue"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Config sets up a Controller. Cloud and Dynamic are required.
type Config struct {
	Cloud   kubernetes.Interface // cloudcore's own identity: events
	Dynamic dynamic.Interface    // the same, for the resources of devices.kubeedge.io
	Every   time.Duration        // between two writes of one DeviceStatus; 0 means 1s
	// WritesPerSecond bounds all writes of this Controller: DeviceStatuses, summaries in
	// Devices and events. 0 means 100; negative is no bound.
	WritesPerSecond int
	// MoveDelay is how long after a change of nodeName the new node gets the device, so that
	// the old one lets go of it first. 0 means 5s; negative is no delay.
	MoveDelay time.Duration
	Live      Live // gets each report before it is coalesced; nil has none
	// Mine reports whether this cloudcore, of those that run, is to write what the cloud itself
	// says of a device (ModelFound); it is asked again every few seconds. nil means that it is.
	Mine   func(work string) bool
	Logger *slog.Logger // nil discards
}

// Live keeps the reports as they come. Its methods return at once and may be called by
// several goroutines at once; twins.Store implements it.
type Live interface {
	Put(twins.Report)
	// Delete is called when the device is gone or at another node.
	Delete(namespace, name string)
}

type noLive struct{}

func (noLive) Put(twins.Report)      {}
func (noLive) Delete(string, string) {}

// Controller is the DeviceController. Its methods may be called by several
// goroutines at once.
type Controller struct {
	guard       runguard.Guard
	cfg         Config
	devices     *cache.Store[*v1beta1.Device]
	models      *cache.Store[*v1beta1.DeviceModel]
	statuses    *cache.Store[*v1beta1.DeviceStatus] // metadata and conditions only
	queue       workqueue.TypedRateLimitingInterface[cache.Name]
	notifier    nodesync.Notifier
	limit       *rate.Limiter // of writes
	turns       *turns
	waiting     *semaphore.Weighted // bytes of reports that are not written
	eventLimits eventLimits

	mu      sync.Mutex
	byNode  cache.Index[string]     // devices
	byModel cache.Index[cache.Name] // devices
	moves   map[cache.Name]move
	reports map[cache.Name]*report
}

// writers is how many writes of DeviceStatuses may be under way.
const writers = 16

// defaultWrites is how many writes a second the API server gets.
const defaultWrites = 100

// settleDelay is how long a change of devices may wait for changes that come with
// it, such as the model in the same file.
const settleDelay = 500 * time.Millisecond

// othersDelay is how long a device that another cloudcore is to write waits until it is looked at
// again: that cloudcore may have gone.
const othersDelay = 10 * time.Second

// New checks the configuration.
func New(cfg Config) (*Controller, error) {
	if cfg.Cloud == nil || cfg.Dynamic == nil {
		return nil, errors.New("devices: Config.Cloud and Dynamic are required")
	}
	if cfg.Every == 0 {
		cfg.Every = time.Second
	}
	if cfg.MoveDelay == 0 {
		cfg.MoveDelay = 5 * time.Second
	}
	if cfg.Mine == nil {
		cfg.Mine = func(string) bool { return true }
	}
	if cfg.Live == nil {
		cfg.Live = noLive{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// No burst: so many writes a second are so many in each second.
	limit := rate.NewLimiter(rate.Limit(cmp.Or(cfg.WritesPerSecond, defaultWrites)), 1)
	if cfg.WritesPerSecond < 0 {
		limit.SetLimit(rate.Inf)
	}
	c := &Controller{
		cfg:     cfg,
		limit:   limit,
		turns:   newTurns(cfg.Every, limit),
		waiting: semaphore.NewWeighted(maxWaiting),
		moves:   make(map[cache.Name]move),
		byNode:  make(cache.Index[string]),
		byModel: make(cache.Index[cache.Name]),
		reports: make(map[cache.Name]*report),
	}
	var err [3]error
	c.devices, err[0] = cache.NewDynamic(cfg.Dynamic, v1beta1.GroupVersion().WithResource(resources.Devices),
		cache.Config[*v1beta1.Device]{Same: sameForNode, Logger: cfg.Logger})
	c.models, err[1] = cache.NewDynamic(cfg.Dynamic, v1beta1.GroupVersion().WithResource(resources.DeviceModels),
		cache.Config[*v1beta1.DeviceModel]{Logger: cfg.Logger})
	c.statuses, err[2] = cache.NewDynamic(cfg.Dynamic, v1beta1.GroupVersion().WithResource(resources.DeviceStatuses),
		cache.Config[*v1beta1.DeviceStatus]{Logger: cfg.Logger, Strip: func(s *v1beta1.DeviceStatus) {
			c.showStored(s)
			s.Status = v1beta1.DeviceStatusStatus{Conditions: s.Status.Conditions}
		}})
	if err := errors.Join(err[:]...); err != nil {
		return nil, err
	}
	c.devices.OnChange(c.deviceChanged)
	c.models.OnChange(c.modelChanged)
	c.statuses.OnChange(c.statusChanged)
	return c, nil
}

// sameForNode reports whether a change of a Device is none for its node: the summary of what
// the node itself reported.
func sameForNode(before, after *v1beta1.Device) bool {
	a, b := *before, *after
	a.Status, b.Status = v1beta1.Summary{}, v1beta1.Summary{}
	a.ResourceVersion, b.ResourceVersion = "", ""
	return equality.Semantic.DeepEqual(&a, &b)
}

// Run watches the API server until ctx ends; it then joins all that it started
// and returns nil. It may be called once.
func (c *Controller) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	queue := workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[cache.Name](100*time.Millisecond, time.Minute))
	c.mu.Lock()
	c.queue = queue
	c.mu.Unlock()
	g.Go(func() error { return c.devices.Run(ctx) })
	g.Go(func() error { return c.models.Run(ctx) })
	g.Go(func() error {
		select {
		case <-c.devices.Synced(): // a DeviceStatus of no Device is not shown
			return c.statuses.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	g.Go(func() error {
		<-ctx.Done()
		queue.ShutDown()
		return nil
	})
	for range 2 {
		g.Go(func() error {
			c.reconcileAll(ctx, queue)
			return nil
		})
	}
	c.startWriters(ctx, g)
	return g.Wait()
}

// Synced returns channels that are closed when the devices and their models are
// known.
func (c *Controller) Synced() []<-chan struct{} {
	return []<-chan struct{}{c.devices.Synced(), c.models.Synced()}
}

func (c *Controller) deviceChanged(change cache.Change[*v1beta1.Device]) {
	if change.Same {
		return
	}
	node, model := nodeAndModel(change.Old)
	nowNode, nowModel := nodeAndModel(change.New)
	c.mu.Lock()
	if node != nowNode {
		c.byNode.Remove(node, change.Name)
	}
	if model != nowModel {
		c.byModel.Remove(model, change.Name)
	}
	if change.New != nil {
		c.byNode.Add(nowNode, change.Name)
		c.byModel.Add(nowModel, change.Name)
	}
	c.mu.Unlock()
	var keys []hub.Key
	if node != nowNode || model != nowModel {
		// Load of a model that the node no longer needs answers that it is deleted.
		for _, m := range []cache.Name{model, nowModel} {
			if m.Name != "" {
				keys = append(keys, modelKey(m))
			}
		}
	}
	hidden := false
	if change.New == nil || change.Old != nil && node != nowNode {
		c.forget(change.Name)
		hidden = c.beginMove(change.Name, node, nowNode)
	}
	if node != "" {
		c.notifier.Notify(node, append(keys, deviceKey(change.Name))...)
	}
	if nowNode != "" && nowNode != node {
		if !hidden {
			keys = append(keys, deviceKey(change.Name))
		}
		c.notifier.Notify(nowNode, keys...)
	}
	if change.New != nil {
		c.enqueue(change.Name)
	}
}

func (c *Controller) modelChanged(change cache.Change[*v1beta1.DeviceModel]) {
	c.mu.Lock()
	nodes := make(map[string]struct{})
	var owners []cache.Name
	for name := range c.byModel[change.Name] {
		owners = append(owners, name)
		if item, ok := c.devices.Load(name); ok {
			nodes[item.Object.Spec.NodeName] = struct{}{}
		}
	}
	c.mu.Unlock()
	for node := range nodes {
		c.notifier.Notify(node, modelKey(change.Name))
	}
	if change.Old == nil || change.New == nil {
		c.enqueue(owners...)
	}
}

// statusChanged has a DeviceStatus that somebody removed, or made again, written again.
func (c *Controller) statusChanged(change cache.Change[*v1beta1.DeviceStatus]) {
	if change.New == nil || change.Old != nil && change.Old.UID != change.New.UID {
		c.enqueue(change.Name)
	}
}

func (c *Controller) enqueue(names ...cache.Name) {
	c.mu.Lock()
	queue := c.queue
	c.mu.Unlock()
	for _, name := range names {
		queue.AddAfter(name, settleDelay)
	}
}

// nodeAndModel returns the node of a device and the name of its model.
func nodeAndModel(d *v1beta1.Device) (node string, model cache.Name) {
	if d == nil {
		return "", cache.Name{}
	}
	return d.Spec.NodeName, cache.Name{Namespace: d.Namespace, Name: d.Spec.ModelRef.Name}
}

func deviceKey(name cache.Name) hub.Key {
	return hub.Key{Resource: resources.Devices, Namespace: name.Namespace, Name: name.Name}
}

func modelKey(name cache.Name) hub.Key {
	return hub.Key{Resource: resources.DeviceModels, Namespace: name.Namespace, Name: name.Name}
}
