package host

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline/child"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
)

// MaxPipelines is how many Pipelines a node runs: the first by namespace and name.
const MaxPipelines = 64

// Reporter takes what the node says of its Pipelines; *manager.Manager is one.
type Reporter interface {
	Update(ctx context.Context, o meta.Object) error
	Delete(ctx context.Context, o meta.Object) error
}

// Config sets up a Host. Store, Reporter, Node, Folder and Program are required.
type Config struct {
	Store    meta.Store
	Reporter Reporter
	Node     string // the node's name
	Folder   string // for sockets and edgepipe's store, an absolute path
	Program  string // the file of edgepipe, an absolute path
	// Version is edgecore's. An edgepipe of another one is used all the same, and said in the log
	// and with failures of Pipelines; empty compares nothing.
	Version string
	// MQTT says how edgepipe reaches the node's broker.
	MQTT wire.MQTT
	// EndSession ends a session at the node's broker; nil leaves sessions to expire.
	EndSession func(ctx context.Context, clientID string) error
	API        string // the socket of the node's own API; empty: pipelines have no twins
	Logs       string // the folder of the containers' logs; empty: they have none
	Files      string // the folder for files of pipelines; empty: they have none
	Listen     string // where edgepipe listens for sources of kind http; empty: nowhere
	// MemoryMiB is the soft limit of edgepipe's memory; 0 means 64.
	MemoryMiB int
	// StatusEvery is the least time between two reports of one Pipeline; 0 means 5s.
	StatusEvery time.Duration
	// MaxBatches is how many batches of one sink wait for the cloud; 0 means 8. MaxBytes is
	// how many bytes of all sinks wait; 0 means 16 MiB. A sink of which nothing waits may store
	// one batch beyond it, up to four times MaxBytes: a sink whose URL takes nothing must not
	// hold up the others.
	MaxBatches int
	MaxBytes   int64
	Logger     *slog.Logger // nil discards
}

// Host is edgecore's side of pipelines. Make one with New.
type Host struct {
	cfg     Config
	log     *slog.Logger
	queues  *manager.EventQueues
	started atomic.Bool
	counts  counters
	wake    chan struct{} // holds a value when reports may be due
	writing chan struct{} // holds a value while append works

	mu        sync.Mutex
	pipelines map[meta.Key]*item
	inputs    map[meta.Key]wire.NamedInput
	devices   map[meta.Key]map[string]string // the labels of Devices, while a Pipeline selects by them
	state     child.State                    // of edgepipe
	version   string                         // likewise, as it says
	statuses  map[meta.Key]wire.Report       // of edgepipe, the last
	reported  map[meta.Key]time.Time         // when each was reported last
	changed   chan struct{}                  // closed when the Set changes
	sessions  map[string]struct{}            // those that are recorded
}

// item is one Pipeline of the node.
type item struct {
	raw        json.RawMessage
	uid        string
	generation int64
	tooMany    bool
	sessions   []string // names of its MQTT sessions
	selects    bool     // it selects devices by labels
}

type counters struct{ batches, refused atomic.Uint64 }

// Stats are counts since the start.
type Stats struct {
	Pipelines int    // of the node
	Running   bool   // edgepipe runs
	Restarts  int    // of edgepipe
	Batches   uint64 // batches of events stored for the cloud
	Refused   uint64 // batches that were not stored because so much waits
	Waiting   int    // batches that wait for the cloud
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Host, error) {
	switch {
	case cfg.Store == nil || cfg.Reporter == nil || cfg.Node == "":
		return nil, errors.New("bus/pipeline/host: Config.Store, Reporter and Node are required")
	case !filepath.IsAbs(cfg.Folder) || !filepath.IsAbs(cfg.Program):
		return nil, fmt.Errorf("bus/pipeline/host: Config.Folder is %q and Program %q: give absolute paths", cfg.Folder, cfg.Program)
	case cfg.MemoryMiB < 0 || cfg.StatusEvery < 0 || cfg.MaxBatches < 0 || cfg.MaxBytes < 0:
		return nil, errors.New("bus/pipeline/host: Config.MemoryMiB, StatusEvery, MaxBatches or MaxBytes is negative: leave it 0 for the default")
	}
	cfg.MemoryMiB = cmp.Or(cfg.MemoryMiB, 64)
	cfg.StatusEvery = cmp.Or(cfg.StatusEvery, 5*time.Second)
	cfg.MaxBatches = cmp.Or(cfg.MaxBatches, 8)
	cfg.MaxBytes = cmp.Or(cfg.MaxBytes, 16<<20)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	// The queues drop nothing: append refuses what would be too much.
	queues, err := manager.NewEventQueues(manager.EventQueuesConfig{
		Store: cfg.Store, Area: queueArea, MaxEvents: 2 * cfg.MaxBatches, MaxBytes: hardLimit*cfg.MaxBytes + 2*wire.MaxBody, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("bus/pipeline/host: %w", err)
	}
	return &Host{
		cfg: cfg, log: cfg.Logger, queues: queues, wake: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		pipelines: make(map[meta.Key]*item), inputs: make(map[meta.Key]wire.NamedInput), devices: make(map[meta.Key]map[string]string), statuses: make(map[meta.Key]wire.Report),
		reported: make(map[meta.Key]time.Time), changed: make(chan struct{}), sessions: make(map[string]struct{}),
	}, nil
}

// The areas in the store.
const (
	area        = meta.Local + "pipelines/"
	queueArea   = area + "up/"      // events for the cloud
	sessionArea = area + "session/" // names of MQTT sessions
)

// Outbox is the Outbox of events for the cloud. manager.Outboxes joins it with the node's
// others.
func (h *Host) Outbox() hub.Outbox { return h.queues }

// Stats returns the counts so far.
func (h *Host) Stats() Stats {
	q := h.queues.Stats()
	h.mu.Lock()
	defer h.mu.Unlock()
	return Stats{
		Pipelines: len(h.pipelines), Running: h.state.Reason == child.ReasonRunning, Restarts: h.state.Restarts,
		Batches: h.counts.batches.Load(), Refused: h.counts.refused.Load(), Waiting: q.Events,
	}
}

// retryPause is how long what failed is left alone.
const retryPause = time.Second

// Run keeps edgepipe while the node has Pipelines, until ctx ends; it then joins all that it
// started and returns nil. It returns an error when the store is closed. A second call returns
// bus.ErrStarted.
func (h *Host) Run(ctx context.Context) error {
	if !h.started.CompareAndSwap(false, true) {
		return bus.ErrStarted
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { h.report(ctx) })
	w := &worker{h: h, devices: deviceWatch{h: h}}
	defer w.stop()
	for {
		err := h.follow(ctx, w)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("bus/pipeline/host: %w", err)
		}
		h.log.Warn("listing pipelines again", "err", err)
		if !sleep(ctx, retryPause) {
			return nil
		}
	}
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// worker is what runs while the node has Pipelines: the socket and edgepipe.
type worker struct {
	h       *Host
	cancel  context.CancelFunc // nil while it does not run
	group   sync.WaitGroup
	devices deviceWatch
}

// adjust starts or stops it. Only follow and Run call it.
func (w *worker) adjust(ctx context.Context) {
	w.devices.adjust(ctx)
	w.h.mu.Lock()
	wanted := len(w.h.pipelines) > 0
	w.h.mu.Unlock()
	switch {
	case wanted && w.cancel == nil:
		ctx, w.cancel = context.WithCancel(ctx)
		w.group.Go(func() { w.h.serve(ctx) })
		w.group.Go(func() { w.h.runProgram(ctx) })
	case !wanted && w.cancel != nil:
		w.stop()
		w.h.removeData()
	}
}

func (w *worker) stop() {
	w.devices.stop()
	if w.cancel != nil {
		w.cancel()
		w.group.Wait()
		w.cancel = nil
	}
}

// runProgram runs edgepipe until ctx ends.
func (h *Host) runProgram(ctx context.Context) {
	c, err := child.New(child.Config{
		Program: h.cfg.Program, Args: []string{"--folder", h.cfg.Folder},
		Env: []string{"GOMEMLIMIT=" + strconv.Itoa(h.cfg.MemoryMiB) + "MiB"}, Changed: h.programChanged, Logger: h.log.With("program", "edgepipe"),
	})
	if err == nil {
		err = c.Run(ctx)
	}
	if err != nil { // New has checked the configuration
		h.log.Error("edgepipe cannot be run", "err", err)
	}
}

// programChanged notes what edgepipe does. What one that has ended said no longer counts.
func (h *Host) programChanged(s child.State) {
	h.mu.Lock()
	if s.PID != h.state.PID {
		clear(h.statuses)
	}
	h.state = s
	h.mu.Unlock()
	h.notify()
}

// notify has reports written that are due.
func (h *Host) notify() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// set returns what edgepipe has to run, and a channel that is closed when that changes.
func (h *Host) set() (wire.Set, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := wire.Set{Node: h.cfg.Node, MQTT: h.cfg.MQTT, API: h.cfg.API, Logs: h.cfg.Logs, Files: h.cfg.Files, Listen: h.cfg.Listen}
	for _, key := range sortedKeys(h.pipelines) {
		if p := h.pipelines[key]; !p.tooMany {
			s.Pipelines = append(s.Pipelines, p.raw)
		}
	}
	for _, key := range sortedKeys(h.inputs) {
		s.Inputs = append(s.Inputs, h.inputs[key])
	}
	s.Devices = h.devicesLocked()
	return s, h.changed
}

func sortedKeys[V any](m map[meta.Key]V) []meta.Key {
	keys := make([]meta.Key, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b meta.Key) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Resource, b.Resource))
	})
	return keys
}
