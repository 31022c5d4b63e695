package dra

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/meta"
)

// ClaimReader reads the ResourceClaims that the node's pods refer to, from what the node has
// stored.
type ClaimReader interface {
	// ResourceClaim gives the JSON of a ResourceClaim of resource.k8s.io/v1.
	ResourceClaim(ctx context.Context, namespace, name string) ([]byte, error)
}

// Config sets up a Manager. Store and Claims are required.
type Config struct {
	Store  meta.Store  // keeps which claims are prepared, below "local/dra/"
	Claims ClaimReader // in edgekit it is meta/kube
	// DriversChanged is called by Run with the names of the drivers that the node has, when
	// these changed. After an error it is called again later. nil ignores it.
	DriversChanged func(ctx context.Context, names []string) error
	// Registered is called when drivers came or went: pods that wait for one can be tried
	// again at once. nil ignores it.
	Registered func()
	// HealthChanged is called with the uids of the pods whose devices changed their health;
	// nil ignores it. It must not block.
	HealthChanged func(podUIDs []string)
	Logger        *slog.Logger // nil discards
}

// Manager prepares the resource claims of a node's pods.
type Manager struct {
	cfg     Config
	guard   lifecycle.Guard
	metrics metrics
	wake    chan struct{} // holds a value: a driver came or went

	mu      sync.Mutex
	claims  map[string]*claim    // by uid of the claim
	drivers map[string][]*driver // by name, the newest last
	health  map[string]report    // by driver
	heard   map[string]bool      // drivers that have said something of health in this life
	loaded  time.Time            // when Load was done; zero when no health of before counts any more
}

var _ pluginregistry.Handler = (*Manager)(nil)

// claim is a claim that pods of the node use, or that is being prepared for the first.
type claim struct {
	busy chan struct{} // holds a value while somebody prepares or unprepares the claim

	// Both need Manager.mu. What record refers to is never changed, only replaced.
	record   record
	prepared bool // in this life of the program
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Claims == nil {
		return nil, errors.New("dra: Config.Store and Config.Claims are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Registered == nil {
		cfg.Registered = func() {}
	}
	if cfg.HealthChanged == nil {
		cfg.HealthChanged = func([]string) {}
	}
	if cfg.DriversChanged == nil {
		cfg.DriversChanged = func(context.Context, []string) error { return nil }
	}
	return &Manager{cfg: cfg, metrics: newMetrics(), wake: make(chan struct{}, 1), claims: make(map[string]*claim), drivers: make(map[string][]*driver), health: make(map[string]report), heard: make(map[string]bool)}, nil
}

// Load reads which claims were prepared before. It must be called once, before all other
// methods that concern claims. A record that is damaged is left out and logged: the pods of
// that claim have it prepared again.
func (m *Manager) Load(ctx context.Context) error {
	records, err := readRecords(ctx, m.cfg.Store, m.cfg.Logger)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loaded = time.Now()
	for _, r := range records {
		if m.claims[r.UID] == nil {
			m.claims[r.UID] = &claim{busy: make(chan struct{}, 1), record: r}
		}
	}
	return nil
}

// Pods lists the uids of the pods that use claims which are prepared, or may be.
func (m *Manager) Pods() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	pods := make(map[string]bool)
	for _, c := range m.claims {
		for _, uid := range c.record.Pods {
			pods[uid] = true
		}
	}
	return slices.Sorted(maps.Keys(pods))
}

// Uses reports whether a pod uses a claim that is prepared, or may be: Unprepare has work to do.
func (m *Manager) Uses(podUID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		if slices.Contains(c.record.Pods, podUID) {
			return true
		}
	}
	return false
}

// Device is a device of a claim, as its driver described it.
type Device struct {
	Driver   string   `json:"-"`
	Pool     string   `json:"pool"`
	Name     string   `json:"name"`
	ShareID  string   `json:"shareID,omitempty"`
	Requests []string `json:"requests,omitempty"` // of the claim; none means all
	CDI      []string `json:"cdi,omitempty"`      // names of CDI devices
}

// Claim is a prepared claim.
type Claim struct {
	Namespace, Name, UID string
	Devices              []Device // of all drivers, by the driver's name
}

// Claims lists the claims that a pod uses and that are prepared, by name. What it returns
// must not be changed.
func (m *Manager) Claims(podUID string) []Claim {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Claim
	for _, uid := range m.usedLocked(podUID) {
		if r := m.claims[uid].record; r.Prepared {
			out = append(out, r.view())
		}
	}
	return out
}

// usedLocked lists the uids of the claims that a pod uses, by the names of the claims. It
// needs m.mu.
func (m *Manager) usedLocked(podUID string) []string {
	byName := make(map[string]string) // sorting structs would cost the program 20 KiB
	for uid, c := range m.claims {
		if slices.Contains(c.record.Pods, podUID) {
			byName[c.record.Name+"/"+uid] = uid
		}
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

// acquire gives the claim with that uid, which nobody else prepares or unprepares until
// release is called. If there is none and made is not nil, the claim begins with that
// record, which is not in the store yet; else it is nil.
func (m *Manager) acquire(ctx context.Context, uid string, made *record) (c *claim, release func(), err error) {
	for {
		m.mu.Lock()
		c := m.claims[uid]
		if c == nil && made != nil {
			c = &claim{busy: make(chan struct{}, 1), record: *made}
			m.claims[uid] = c
		}
		m.mu.Unlock()
		if c == nil {
			return nil, nil, nil
		}
		select {
		case c.busy <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
		m.mu.Lock()
		current := m.claims[uid] == c
		m.mu.Unlock()
		if current {
			return c, func() { m.release(c, uid) }, nil
		}
		<-c.busy // it was unprepared meanwhile
	}
}

// release ends what acquire began. A claim that no pod uses is forgotten.
func (m *Manager) release(c *claim, uid string) {
	m.mu.Lock()
	if len(c.record.Pods) == 0 {
		delete(m.claims, uid)
	}
	m.mu.Unlock()
	<-c.busy
}

// set replaces the record of a claim, in the store first. The caller must have acquired the
// claim.
func (m *Manager) set(ctx context.Context, c *claim, r record) error {
	if err := writeRecord(ctx, m.cfg.Store, r); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c.record = r
	return nil
}

func (m *Manager) recordOf(c *claim) (r record, prepared bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return c.record, c.prepared
}

func (m *Manager) setPrepared(c *claim, yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c.prepared = yes
}

// observe counts a call of Prepare or Unprepare.
func (m *Manager) observe(operation string, began time.Time, err error) {
	m.metrics.operations.WithLabelValues(operation, strconv.FormatBool(err != nil)).Observe(time.Since(began).Seconds())
}
