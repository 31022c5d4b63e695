package members

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/utils/ptr"

	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// Times of the Leases.
const (
	RenewEvery = 3 * time.Second
	Life       = 12 * time.Second

	callTimeout = 5 * time.Second
	keepGone    = 10 * time.Minute // how long a Lease of a cloudcore that has gone is kept
	maxSeen     = 1000             // cloudcores that are remembered
)

// Label is on the Lease of each cloudcore; its value is always "cloudcore".
const Label = "edgekit.io/member"

const selector = Label + "=cloudcore"

// leaseName is the name of a cloudcore's Lease. An ID may have capital letters, and be long.
func leaseName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "edgekit-cloudcore-" + hex.EncodeToString(sum[:8])
}

// Config sets up a Members. Leases and ID are required.
type Config struct {
	Leases coordinationclient.LeaseInterface // of the namespace of edgekit's own objects
	ID     string                            // this run of cloudcore
	Logger *slog.Logger                      // nil discards
}

// Members are the cloudcores of a cluster. A nil *Members knows of no other: all work is its own.
type Members struct {
	cfg   Config
	guard runguard.Guard

	mu         sync.Mutex
	known      bool      // the Leases could be read
	asked      bool      // the Leases were asked for once, with or without an answer
	looked     time.Time // when they were read last
	seen       map[string]*member
	generation uint64
}

// member is what is known of one cloudcore.
type member struct {
	version string    // of its Lease
	at      time.Time // when that was first seen
	gone    bool
}

// New checks the configuration.
func New(cfg Config) (*Members, error) {
	if cfg.Leases == nil || cfg.ID == "" {
		return nil, errors.New("members: Config.Leases and ID are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Members{cfg: cfg, seen: make(map[string]*member)}, nil
}

// Known reports whether anything is known of other cloudcores.
func (m *Members) Known() bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known
}

// Asked reports whether Run has asked for the others once, with or without an answer: before that,
// nobody knows who runs.
func (m *Members) Asked() bool {
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.asked
}

// Alive reports whether a cloudcore is known to run.
func (m *Members) Alive(id string) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seen[id]
	return m.known && s != nil && !s.gone
}

// Gone reports whether a cloudcore has run, and is known to have gone. It is false for one of which nothing
// is known, for example one of an earlier version.
func (m *Members) Gone(id string) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.seen[id]
	return m.known && s != nil && s.gone
}

// Mine reports whether this cloudcore is to do the work of that name.
func (m *Members) Mine(work string) bool {
	if m == nil {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known {
		return true
	}
	own := weight(m.cfg.ID, work)
	for id, s := range m.seen {
		if id == m.cfg.ID || s.gone {
			continue
		}
		if w := weight(id, work); w > own || w == own && id > m.cfg.ID {
			return false
		}
	}
	return true
}

// weight is how much a cloudcore is to have some work: the one with the most has it (rendezvous
// hashing). So little work moves when one comes or goes.
func weight(id, work string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(id))
	h.Write([]byte{0})
	h.Write([]byte(work))
	return mix(h.Sum64())
}

// mix spreads a hash over all of its bits (the finalizer of SplitMix64): the high bits of FNV-1a
// hardly depend on the last bytes.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Run keeps the own Lease, and follows those of the others, until ctx ends. It then deletes the own
// one and returns nil. A second Run returns controller.ErrStarted.
func (m *Members) Run(ctx context.Context) error {
	if err := m.guard.Start(); err != nil {
		return err
	}
	ticker := time.NewTicker(RenewEvery)
	defer ticker.Stop()
	var own *coordinationv1.Lease
	failed := false
	for {
		var err error
		own, err = m.round(ctx, own)
		if err != nil && !failed && ctx.Err() == nil {
			m.cfg.Logger.Warn("the Leases of cloudcores cannot be kept: all cloudcores do the work that they would share", "err", err)
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			m.leave(ctx)
			return nil
		case <-ticker.C:
		}
	}
}

// round renews the own Lease and looks at all.
func (m *Members) round(ctx context.Context, own *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	own, renewed := m.renew(ctx, own)
	list, err := m.cfg.Leases.List(ctx, metav1.ListOptions{LabelSelector: selector, ResourceVersion: "0"})
	if err := errors.Join(renewed, err); err != nil {
		m.lose(time.Now(), apierrors.IsForbidden(err))
		return own, fmt.Errorf("members: %w", err)
	}
	m.look(list.Items, time.Now())
	m.removeOld(ctx, list.Items)
	return own, nil
}

// renew writes the own Lease.
func (m *Members) renew(ctx context.Context, own *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	now := metav1.NewMicroTime(time.Now())
	seconds := int32(Life / time.Second)
	spec := coordinationv1.LeaseSpec{HolderIdentity: &m.cfg.ID, LeaseDurationSeconds: &seconds, RenewTime: &now}
	if own == nil {
		got, err := m.cfg.Leases.Create(ctx, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Name: leaseName(m.cfg.ID), Labels: map[string]string{Label: "cloudcore"}}, Spec: spec,
		}, metav1.CreateOptions{})
		if !apierrors.IsAlreadyExists(err) {
			return orNone(got, err), err
		}
		if own, err = m.cfg.Leases.Get(ctx, leaseName(m.cfg.ID), metav1.GetOptions{}); err != nil {
			return nil, err
		}
	}
	next := own.DeepCopy()
	next.Spec = spec
	got, err := m.cfg.Leases.Update(ctx, next, metav1.UpdateOptions{})
	return orNone(got, err), err // after an error it is read or created again
}

// orNone returns nil for what a client gives beside an error.
func orNone(l *coordinationv1.Lease, err error) *coordinationv1.Lease {
	if err != nil {
		return nil
	}
	return l
}

// look notes which Leases have changed, and who has gone.
func (m *Members) look(list []coordinationv1.Lease, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.asked = true, true
	if gap := now.Sub(m.looked); !m.looked.IsZero() && gap > RenewEvery { // nobody could renew a Lease while the API server was away
		for _, s := range m.seen {
			if !s.gone {
				s.at = s.at.Add(gap - RenewEvery)
			}
		}
	}
	m.looked = now
	there := make(map[string]bool, len(list))
	for i := range list {
		l := &list[i]
		if l.Spec.HolderIdentity == nil || l.Name != leaseName(*l.Spec.HolderIdentity) {
			continue // not written by a cloudcore
		}
		id := *l.Spec.HolderIdentity
		there[id] = true
		s := m.seen[id]
		switch {
		case s == nil && len(m.seen) < maxSeen:
			m.seen[id] = &member{version: l.ResourceVersion, at: now}
		case s != nil && s.version != l.ResourceVersion:
			s.version, s.at, s.gone = l.ResourceVersion, now, false
		}
	}
	for id, s := range m.seen {
		if id == m.cfg.ID || s.gone || there[id] && now.Sub(s.at) < Life {
			continue
		}
		s.gone, s.at = true, now
		m.generation++
	}
	maps.DeleteFunc(m.seen, func(id string, s *member) bool { return s.gone && !there[id] && now.Sub(s.at) > keepGone })
}

// Generation grows whenever a cloudcore goes.
func (m *Members) Generation() uint64 {
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.generation
}

// lose notes that nothing was read. What is known stays for Life, since an API server may be slow.
func (m *Members) lose(now time.Time, refused bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = true
	newest := time.Time{}
	for _, s := range m.seen {
		if !s.gone && s.at.After(newest) {
			newest = s.at
		}
	}
	if refused || now.Sub(newest) >= Life {
		m.known = false
		maps.DeleteFunc(m.seen, func(_ string, s *member) bool { return !s.gone }) // those that run are seen again
	}
}

// removeOld deletes the Leases of cloudcores that went long ago.
func (m *Members) removeOld(ctx context.Context, list []coordinationv1.Lease) {
	if !m.Mine("old Leases") {
		return
	}
	for i := range list {
		l := &list[i]
		m.mu.Lock()
		s := m.seen[ptr.Deref(l.Spec.HolderIdentity, "")]
		old := s != nil && s.gone && time.Since(s.at) > keepGone
		m.mu.Unlock()
		if !old {
			continue
		}
		err := m.cfg.Leases.Delete(ctx, l.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &l.ResourceVersion}})
		if err != nil && !apierrors.IsNotFound(err) {
			m.cfg.Logger.Debug("the Lease of a cloudcore that has gone was not deleted", "name", l.Name, "err", err)
		}
	}
}

// leave deletes the own Lease.
func (m *Members) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if err := m.cfg.Leases.Delete(ctx, leaseName(m.cfg.ID), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		m.cfg.Logger.Debug("the Lease of this cloudcore was not deleted", "err", err)
	}
}
