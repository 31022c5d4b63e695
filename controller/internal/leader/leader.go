package leader

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// Times of the Lease, those of Kubernetes' own controllers. The one that leads stops its work
// for want of a renewal before another may begin.
const (
	leaseDuration = 15 * time.Second
	renewDeadline = 10 * time.Second
	renewEvery    = 2 * time.Second
	releaseTime   = 5 * time.Second // for the release when it stops
)

// Config sets up an Elector. All but Logger are required.
type Config struct {
	Leases coordinationclient.LeaseInterface // of the namespace with the Lease
	Lease  string                            // the name of the Lease
	ID     string                            // this run of cloudcore
	Work   string                            // what the leader does, for messages: "jobs"
	Logger *slog.Logger                      // nil discards
}

// Elector makes one cloudcore at a time lead. Campaign may be called once.
type Elector struct {
	cfg Config

	seen   string    // the resource version that was last seen
	seenAt time.Time // since when
}

// New makes an Elector. It does no I/O.
func New(cfg Config) *Elector {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Logger = cfg.Logger.With("work", cfg.Work)
	return &Elector{cfg: cfg}
}

// Campaign leads whenever it can, until ctx ends. lead is called for each time of leading; its context
// ends with it, and Campaign waits until it has returned.
func (e *Elector) Campaign(ctx context.Context, lead func(context.Context)) {
	failed := false
	for Sleep(ctx, 0) {
		at, err := e.acquire(ctx)
		if err != nil && !failed && ctx.Err() == nil { // once, such as for a right that is missing
			e.cfg.Logger.Warn("the Lease cannot be read or written; trying again, and this cloudcore does not lead until then", "lease", e.cfg.Lease, "err", err)
		}
		failed = err != nil
		if !at.IsZero() {
			e.hold(ctx, at, lead)
			continue
		}
		if !Sleep(ctx, renewEvery+rand.N(renewEvery/2)) {
			return
		}
	}
}

// acquire takes the Lease if it is free. It returns since when it holds it; zero if it does
// not.
func (e *Elector) acquire(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, renewDeadline)
	defer cancel()
	at := time.Now()
	lease, err := e.cfg.Leases.Get(ctx, e.cfg.Lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: e.cfg.Lease}}
		e.sign(lease, at, true)
		_, err := e.cfg.Leases.Create(ctx, lease, metav1.CreateOptions{})
		return acquired(at, err)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("leader: %w", err)
	}
	if lease.ResourceVersion != e.seen {
		e.seen, e.seenAt = lease.ResourceVersion, at
	}
	holder := lease.Spec.HolderIdentity
	if holder != nil && *holder != "" && *holder != e.cfg.ID && at.Sub(e.seenAt) < leaseDuration {
		return time.Time{}, nil
	}
	e.sign(lease, at, true)
	_, err = e.cfg.Leases.Update(ctx, lease, metav1.UpdateOptions{}) // refused if somebody was faster
	return acquired(at, err)
}

// acquired is the answer of acquire after its write: a cloudcore that was faster is no error.
func acquired(at time.Time, err error) (time.Time, error) {
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("leader: %w", err)
	}
	return at, nil
}

// sign makes this cloudcore the holder.
func (e *Elector) sign(lease *coordinationv1.Lease, at time.Time, first bool) {
	now := metav1.NewMicroTime(at)
	lease.Spec.HolderIdentity, lease.Spec.RenewTime = &e.cfg.ID, &now
	lease.Spec.LeaseDurationSeconds = new(int32(leaseDuration / time.Second))
	if first {
		lease.Spec.AcquireTime = &now
		n := int32(0)
		if lease.Spec.LeaseTransitions != nil {
			n = *lease.Spec.LeaseTransitions + 1
		}
		lease.Spec.LeaseTransitions = &n
	}
}

// hold leads until ctx ends or the Lease is lost, and joins the work before it returns.
func (e *Elector) hold(ctx context.Context, renewed time.Time, lead func(context.Context)) {
	work, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		lead(work)
	}()
	for Sleep(ctx, renewEvery) {
		at, err := e.renew(ctx, renewed)
		if err != nil && ctx.Err() == nil {
			e.cfg.Logger.Warn("the Lease was not renewed", "err", err)
		}
		if !at.IsZero() {
			renewed = at
		}
		// If somebody deleted the Lease, another cloudcore may have made a new one.
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) || time.Since(renewed) >= renewDeadline {
			e.cfg.Logger.Warn("another cloudcore may lead now")
			break
		}
	}
	stop()
	<-done
	if ctx.Err() != nil {
		e.release(ctx)
	}
}

// renew renews the Lease. A conflict says that another holds it.
func (e *Elector) renew(ctx context.Context, renewed time.Time) (time.Time, error) {
	ctx, cancel := context.WithDeadline(ctx, renewed.Add(renewDeadline))
	defer cancel()
	at := time.Now()
	lease, err := e.cfg.Leases.Get(ctx, e.cfg.Lease, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	if holder := lease.Spec.HolderIdentity; holder == nil || *holder != e.cfg.ID {
		return time.Time{}, apierrors.NewConflict(coordinationv1.Resource("leases"), e.cfg.Lease, fmt.Errorf("another cloudcore holds it"))
	}
	e.sign(lease, at, false)
	lease, err = e.cfg.Leases.Update(ctx, lease, metav1.UpdateOptions{})
	if err != nil {
		return time.Time{}, err
	}
	e.seen, e.seenAt = lease.ResourceVersion, at
	return at, nil
}

// release gives the Lease up, so that another need not wait for its end.
func (e *Elector) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	lease, err := e.cfg.Leases.Get(ctx, e.cfg.Lease, metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity != e.cfg.ID {
		return
	}
	lease.Spec.HolderIdentity = new("")
	if _, err := e.cfg.Leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		e.cfg.Logger.Debug("the Lease was not released", "err", err)
	}
}

// Sleep waits and reports whether ctx still lives.
func Sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Wait waits at least for gap, and then until something is in wake or next comes; a zero next
// never does. It reports whether ctx still lives.
func Wait(ctx context.Context, wake <-chan struct{}, next time.Time, gap time.Duration) bool {
	if !Sleep(ctx, gap) {
		return false
	}
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(0, time.Until(next)))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-due:
	}
	return true
}

// WaitDue waits until the time that due says, and asks due again when something is in wake. It reports
// whether ctx still lives.
func WaitDue(ctx context.Context, wake <-chan struct{}, due func() time.Time) bool {
	for {
		timer := time.NewTimer(time.Until(due()))
		select {
		case <-timer.C:
			return true
		case <-wake:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return false
		}
	}
}
