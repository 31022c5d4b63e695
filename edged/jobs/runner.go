package jobs

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta"
)

// Reporter takes the node's reports; *manager.Manager is one. Update returns when the report
// is durable in the node's outbox, Delete likewise.
type Reporter interface {
	Update(ctx context.Context, o meta.Object) error
	Delete(ctx context.Context, o meta.Object) error
}

// Programs replaces the program on this node; *upgrade.Upgrader is one.
type Programs interface {
	Download(ctx context.Context, r upgrade.Request) (upgrade.Slot, error)
	Discard(ctx context.Context) error
	Switch(ctx context.Context, slot upgrade.Slot, h upgrade.Health) error
	Rollback(ctx context.Context, id, reason string) error
	State() upgrade.State
	Watch(ctx context.Context) iter.Seq[upgrade.State]
	// Log returns the end of the log of the latest trial.
	Log() (string, error)
}

// Settings changes the program's configuration file.
type Settings interface {
	// Check says what keeps the program from starting with other values of some settings, and
	// whether they change anything. A setting that the program does not have is an
	// *UnknownKeyError.
	Check(set map[string]string) (changes bool, err error)
	// Switch has the next start of the program try the values: it judges them by h. What was
	// before is kept. Repeating it with the same id changes nothing.
	Switch(ctx context.Context, id string, set map[string]string, h upgrade.Health) error
	// State says what the latest trial is at.
	State() upgrade.SettingsState
	Watch(ctx context.Context) iter.Seq[upgrade.SettingsState]
}

// UnknownKeyError says that the program has no setting of a name.
type UnknownKeyError struct {
	Key    string
	Remedy string // what else to write; may be empty
}

func (e *UnknownKeyError) Error() string {
	text := fmt.Sprintf("edgecore has no setting %q", e.Key)
	if e.Remedy != "" {
		text += ": " + e.Remedy
	}
	return text
}

// Images pulls images; *edged.Agent is one. Its errors have no credentials in them.
type Images interface {
	PullImage(ctx context.Context, image string, secrets []*corev1.Secret) error
}

// Config sets up a Runner. Store and Reporter are required.
type Config struct {
	Store    meta.Store
	Reporter Reporter
	Programs Programs // nil refuses upgrades
	Settings Settings // nil refuses changes of the configuration
	Images   Images   // nil refuses pulls of images

	// Version is that of the program that runs, for example v1.2.3.
	Version string
	// Repository has the artefacts of upgrades that do not say where they come from, for
	// example registry.example.com/edgekit/node. "" fails them.
	Repository string
	// DataDir is the folder whose disk the check item disk looks at. "" means /.
	DataDir string
	// Usage measures how much of a check item (cpu, mem, disk) is in use, in percent. nil
	// measures this machine.
	Usage func(ctx context.Context, item string) (float64, error)
	// Pods returns the pods that this node is to run, by namespace/name, and whether each is ready.
	// known is false while the node has not looked at them yet, as in the first seconds after a
	// start. A job that replaces the program or its settings waits until all are ready that were
	// so before the start: its health gate asks for those. A nil Pods: there are none.
	Pods func() (pods map[string]bool, known bool)
	// Linked reports whether there is a link to the cloud. Such a job waits for it too, if there was
	// one before. A nil Linked: there never is one.
	Linked func() bool
	// SettleTimeout bounds how long such a job waits, and says after which time a pod that is not
	// ready is one that no job waits for, also after later starts. 0 means 5 minutes.
	SettleTimeout time.Duration
	// DownloadTimeout bounds one download; 0 means 24 hours.
	DownloadTimeout time.Duration
	// Restart has the program end in order and start again, after Programs or Settings have
	// switched. It is required with either. In edgekit it is upgrade.Upgrader.Restart.
	Restart func()
	// Event records an event of the Node; kind is corev1.EventTypeNormal or Warning. nil
	// discards it. It must not wait for the Runner.
	Event  func(kind, reason, message string)
	Now    func() time.Time // the clock; nil means time.Now
	Logger *slog.Logger     // nil discards
}

func (c Config) withDefaults() Config {
	if c.DataDir == "" {
		c.DataDir = "/"
	}
	if c.Usage == nil {
		c.Usage = machineUsage(c.DataDir)
	}
	if c.Pods == nil {
		c.Pods = func() (map[string]bool, bool) { return nil, true }
	}
	if c.Linked == nil {
		c.Linked = func() bool { return false }
	}
	if c.SettleTimeout == 0 {
		c.SettleTimeout = 5 * time.Minute
	}
	if c.DownloadTimeout == 0 {
		c.DownloadTimeout = 24 * time.Hour
	}
	if c.Event == nil {
		c.Event = func(string, string, string) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Runner does the jobs of one node. Make one with New. All methods may be called by several
// goroutines at once.
type Runner struct {
	cfg   Config
	log   *slog.Logger
	guard lifecycle.Guard
	wake  chan struct{} // holds a value: something has changed
	rest  rest

	mu      sync.Mutex
	jobs    map[string]*seenJob // in the store's Down area, by the name of their key
	records map[string]*record  // by the same names, or localPrefix and the job's name; values are never changed
	unsent  map[string]bool     // names whose report is not in the outbox yet
	listed  bool                // jobs has what the store has
	loaded  bool                // records has what the store has
	at      *work               // what runs; nil for nothing
	back    *Status             // the answer to Rollback, once this process goes back
	changed chan struct{}       // closed at the next change
	ended   map[v1alpha2.NodeTaskPhase]uint64
}

// seenJob is a job as it is in the store.
type seenJob struct {
	NodeJob
	revision uint64
}

// retryPause is how long what failed is left alone.
const retryPause = 5 * time.Second

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Runner, error) {
	switch {
	case cfg.Store == nil || cfg.Reporter == nil:
		return nil, errors.New("jobs: Config.Store and Reporter are required")
	case cfg.DownloadTimeout < 0 || cfg.SettleTimeout < 0:
		return nil, errors.New("jobs: Config.DownloadTimeout or SettleTimeout is negative: leave it 0 for the default")
	case (cfg.Programs != nil || cfg.Settings != nil) && cfg.Restart == nil:
		return nil, errors.New("jobs: Config.Restart is required with Programs and with Settings")
	}
	cfg = cfg.withDefaults()
	return &Runner{
		cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), changed: make(chan struct{}),
		jobs: make(map[string]*seenJob), records: make(map[string]*record), unsent: make(map[string]bool), ended: make(map[v1alpha2.NodeTaskPhase]uint64),
	}, nil
}

// Run does the node's jobs until ctx ends; it then joins all that it started and returns nil. It
// returns an error when the store is closed. A second call returns edged.ErrStarted. When a job
// needs the program to start again, Run asks for it by Config.Restart and waits for the end of ctx;
// the job goes on at the next start.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	failed := make(chan error, 1)
	group.Go(func() { failed <- r.follow(ctx) })
	group.Go(func() { r.keepObserving(ctx) })
	r.watchTrials(ctx, &group)
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-r.wake:
		case <-again.C:
		case err := <-failed:
			return err // nil when ctx has ended
		}
		err := r.reconcile(ctx, &group)
		switch {
		case err == nil || ctx.Err() != nil:
			again.Stop()
		case isClosed(err):
			return fmt.Errorf("jobs: %w", err)
		default:
			r.log.Warn("jobs are looked at again", "err", err)
			again.Reset(retryPause)
		}
	}
}

// notify has Run look again.
func (r *Runner) notify() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Changed returns a channel that is closed at the next change of a job.
func (r *Runner) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}

func (r *Runner) announceLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// watchTrials has Run look again at each change of the programs and the settings, until ctx ends.
func (r *Runner) watchTrials(ctx context.Context, group *sync.WaitGroup) {
	if r.cfg.Programs != nil {
		group.Go(func() {
			for range r.cfg.Programs.Watch(ctx) {
				r.notify()
			}
		})
	}
	if r.cfg.Settings != nil {
		group.Go(func() {
			for range r.cfg.Settings.Watch(ctx) {
				r.notify()
			}
		})
	}
}

// isClosed reports whether an error of the store is for good.
func isClosed(err error) bool { return errors.Is(err, net.ErrClosed) }

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
