package reclaim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Defaults of an ImagesConfig, which are the kubelet's.
const (
	defaultHighPercent = 85
	defaultLowPercent  = 80
	defaultMinAge      = 2 * time.Minute
	imageInterval      = 5 * time.Minute
)

// errNoFilesystem says that images cannot be collected for their space. It lasts until
// the runtime is replaced, so it is logged once.
var errNoFilesystem = errors.New("reclaim: the runtime does not say where its images are: it must support ImageFsInfo")

// ImageRuntime is what of a runtime collects images.
type ImageRuntime interface {
	ListImages(ctx context.Context) ([]runtime.Image, error)
	ImageStatus(ctx context.Context, ref string) (runtime.Image, bool, error)
	RemoveImage(ctx context.Context, id string) error
	// ListContainers lists all containers, as runtime.Containers says.
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
}

// ImagesConfig sets up Images. Runtime and Store are required.
type ImagesConfig struct {
	Runtime ImageRuntime
	Store   runtime.ImageStore

	// InUse lists the images that must stay besides those of containers: references
	// or ids of pods that may start, of images that are pulled ahead, or that a
	// rollback may need. It is asked right before each removal. nil means none.
	InUse func() []string

	HighThresholdPercent int           // percent of the disk in use at which images are collected; 0 means 85, 100 never
	LowThresholdPercent  int           // percent down to which they are; 0 means 80
	MinimumAge           time.Duration // how long an image is known before it may be removed; 0 means 2 minutes, negative not at all
	MaximumAge           time.Duration // how long an image is unused before it is removed whatever the disk has; 0 means for ever

	// Removed is called after images were removed. nil means that nothing is called.
	Removed func()
	// Event records an event of the Node; kind is corev1.EventTypeNormal or Warning.
	// nil discards it.
	Event  func(kind, reason, message string)
	Logger *slog.Logger // nil discards
}

// Images removes images that nobody uses.
type Images struct {
	cfg    ImagesConfig
	policy imagePolicy
	space  func(folder string) (usage, error)
	guard  lifecycle.Guard
	counts struct{ age, space atomic.Uint64 } // images removed

	gate chan struct{} // holds a value while an image is being removed

	mu      sync.Mutex // one pass at a time
	records map[string]imageRecord
	began   time.Time // when the first pass was
}

// NewImages checks cfg and makes Images. It does no I/O.
func NewImages(cfg ImagesConfig) (*Images, error) {
	if cfg.HighThresholdPercent == 0 {
		cfg.HighThresholdPercent = defaultHighPercent
	}
	if cfg.LowThresholdPercent == 0 {
		cfg.LowThresholdPercent = defaultLowPercent
	}
	switch {
	case cfg.MinimumAge == 0:
		cfg.MinimumAge = defaultMinAge
	case cfg.MinimumAge < 0:
		cfg.MinimumAge = 0
	}
	switch {
	case cfg.Runtime == nil:
		return nil, errors.New("reclaim: ImagesConfig.Runtime is required")
	case cfg.Store == nil:
		return nil, errors.New("reclaim: ImagesConfig.Store is required")
	case cfg.HighThresholdPercent < 0 || cfg.HighThresholdPercent > 100:
		return nil, fmt.Errorf("reclaim: ImagesConfig.HighThresholdPercent is %d: want 1 to 100, or 0 for %d", cfg.HighThresholdPercent, defaultHighPercent)
	case cfg.LowThresholdPercent < 0 || cfg.LowThresholdPercent >= cfg.HighThresholdPercent:
		return nil, fmt.Errorf("reclaim: ImagesConfig.LowThresholdPercent is %d: it must be below HighThresholdPercent, which is %d", cfg.LowThresholdPercent, cfg.HighThresholdPercent)
	case cfg.MaximumAge < 0:
		return nil, fmt.Errorf("reclaim: ImagesConfig.MaximumAge is %s: want 0, for no maximum, or more", cfg.MaximumAge)
	case cfg.MaximumAge > 0 && cfg.MaximumAge <= cfg.MinimumAge:
		return nil, fmt.Errorf("reclaim: ImagesConfig.MaximumAge is %s: it must be more than MinimumAge, which is %s", cfg.MaximumAge, cfg.MinimumAge)
	}
	if cfg.InUse == nil {
		cfg.InUse = func() []string { return nil }
	}
	if cfg.Removed == nil {
		cfg.Removed = func() {}
	}
	if cfg.Event == nil {
		cfg.Event = func(string, string, string) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Images{
		cfg: cfg, space: spaceOf, gate: make(chan struct{}, 1), records: make(map[string]imageRecord),
		policy: imagePolicy{high: cfg.HighThresholdPercent, low: cfg.LowThresholdPercent, minAge: cfg.MinimumAge, maxAge: cfg.MaximumAge},
	}, nil
}

// Run collects images every five minutes until ctx ends, and then returns nil. A
// second call returns edged.ErrStarted.
func (c *Images) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	if c.policy.high == 100 && c.policy.maxAge == 0 { // as the kubelet: it is turned off
		<-ctx.Done()
		return nil
	}
	failed := false
	// The first look only learns what there is: no image is old enough then.
	_, err := c.observe(ctx)
	for wait := min(c.policy.minAge+time.Second, imageInterval); ; wait = imageInterval {
		if err != nil && ctx.Err() == nil && !(failed && errors.Is(err, errNoFilesystem)) {
			c.cfg.Logger.Warn("images cannot be collected; trying again", "err", err)
			if failed { // as the kubelet: only the second failure in a row is reported, since a runtime may be starting
				c.cfg.Event(corev1.EventTypeWarning, "ImageGCFailed", err.Error())
			}
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		err = c.CollectGarbage(ctx)
	}
}

// CollectGarbage removes images that have not been used for too long and, if the disk is
// fuller than the high threshold, unused ones until it is down to the low one. It
// returns an error if it could not free that much.
func (c *Images) CollectGarbage(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused, err := c.observeLocked(ctx)
	if err != nil {
		return err
	}
	old, rest := c.policy.expired(unused, c.began, time.Now())
	if _, err := c.removeLocked(ctx, old, ^uint64(0), &c.counts.age); err != nil {
		return err
	}
	u, err := c.usage(ctx)
	if err != nil {
		return err
	}
	need := c.policy.toFree(u)
	if need == 0 {
		return nil
	}
	c.cfg.Logger.Info("the disk of the images is fuller than the high threshold", "used", u.percent(), "threshold", c.policy.high, "free", sizeText(need))
	freed, err := c.removeLocked(ctx, c.policy.collectable(rest, false, time.Now()), need, &c.counts.space)
	if err != nil || freed >= need {
		return err
	}
	err = fmt.Errorf("insufficient free disk space on the node's image filesystem (%d%% of %s used): %d bytes were freed by removing unused images, %d are needed; look for what else is on it: images in use, logs, volumes, other data",
		u.percent(), sizeText(u.capacity), freed, need)
	c.cfg.Event(corev1.EventTypeWarning, "FreeDiskSpaceFailed", err.Error())
	return err
}

// ReclaimAll removes all images that nobody uses, whatever the disk has. freedBytes
// is the size of those that were removed, as the runtime gives it. An error says
// that some could not be removed.
func (c *Images) ReclaimAll(ctx context.Context) (freedBytes uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	unused, err := c.observeLocked(ctx)
	if err != nil {
		return 0, err
	}
	return c.removeLocked(ctx, c.policy.collectable(unused, true, time.Now()), ^uint64(0), &c.counts.space)
}

// Settle returns when no image is being removed that the caller's pod may want. The
// caller must be among InUse by then. Without it an image could go between the
// moment in which a pod finds it and the one in which a container has it.
func (c *Images) Settle(ctx context.Context) error {
	select {
	case c.gate <- struct{}{}:
		<-c.gate
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// observe is observeLocked for a caller without the mutex.
func (c *Images) observe(ctx context.Context) ([]unusedImage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.observeLocked(ctx)
}

// observeLocked lists the images that nobody uses, the longest unused first.
func (c *Images) observeLocked(ctx context.Context) ([]unusedImage, error) {
	images, err := c.cfg.Runtime.ListImages(ctx)
	if err != nil {
		return nil, fmt.Errorf("reclaim: %w", err)
	}
	containers, err := c.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("reclaim: %w", err)
	}
	names := c.cfg.InUse()
	for _, k := range containers {
		names = append(names, k.Image, k.ImageID)
	}
	u := newUsers(names)
	if u.sandboxImage, err = c.cfg.Store.SandboxImage(ctx); err != nil {
		return nil, fmt.Errorf("reclaim: %w", err)
	}
	now := time.Now()
	if c.began.IsZero() {
		c.began = now
	}
	return observeImages(c.records, images, u, now), nil
}

// removeLocked removes images in order until so many bytes are freed, and counts
// them. One that has come into use is left. It tries all of them and returns the
// errors joined.
func (c *Images) removeLocked(ctx context.Context, images []unusedImage, need uint64, count *atomic.Uint64) (freed uint64, err error) {
	var errs []error
	removed := 0
	for _, i := range images {
		if freed >= need || ctx.Err() != nil {
			break
		}
		gone, err := c.removeOne(ctx, i)
		if err != nil {
			errs = append(errs, fmt.Errorf("reclaim: remove image %s: %w", i.id, err))
		}
		if !gone {
			continue
		}
		c.cfg.Logger.Info("an unused image was removed", "image", i.id, "size", sizeText(i.size))
		delete(c.records, i.id)
		count.Add(1)
		removed++
		freed += i.size
	}
	if removed > 0 {
		c.cfg.Removed()
	}
	return freed, errors.Join(append(errs, ctx.Err())...)
}

// removeOne removes an image if still nobody uses it, while Settle waits.
func (c *Images) removeOne(ctx context.Context, i unusedImage) (gone bool, err error) {
	select {
	case c.gate <- struct{}{}:
		defer func() { <-c.gate }()
	case <-ctx.Done():
		return false, nil
	}
	// Its names may have changed as well since it was listed: it was pulled again.
	now, have, err := c.cfg.Runtime.ImageStatus(ctx, i.id)
	if err != nil || !have {
		return false, err
	}
	if newUsers(c.cfg.InUse()).keep(now) {
		return false, nil
	}
	if err := c.cfg.Runtime.RemoveImage(ctx, i.id); err != nil {
		return false, err
	}
	return true, nil
}

// spaceOf reads how full the file system of a folder is.
func spaceOf(folder string) (usage, error) {
	s, err := hostinfo.SpaceOf(folder)
	return usage{capacity: uint64(s.Total), available: uint64(s.Free)}, err
}

// usage is how full the file system of the images is: of several, the fullest.
func (c *Images) usage(ctx context.Context) (usage, error) {
	images, _, err := c.cfg.Store.ImageFilesystems(ctx)
	if err != nil {
		return usage{}, fmt.Errorf("reclaim: %w", err)
	}
	if len(images) == 0 {
		return usage{}, errNoFilesystem
	}
	var fullest usage
	for _, f := range images {
		u, err := c.space(f.Mountpoint)
		if err != nil {
			return usage{}, fmt.Errorf("reclaim: the file system of the images, %s: %w", f.Mountpoint, err)
		}
		if u.capacity == 0 {
			err := fmt.Errorf("invalid capacity 0 on image filesystem %s", f.Mountpoint)
			c.cfg.Event(corev1.EventTypeWarning, "InvalidDiskCapacity", err.Error())
			return usage{}, err
		}
		u.available = min(u.available, u.capacity)
		if fullest.capacity == 0 || u.percent() > fullest.percent() {
			fullest = u
		}
	}
	return fullest, nil
}

// Describe describes the metric of an Images, a prometheus.Collector.
func (c *Images) Describe(ch chan<- *prometheus.Desc) { ch <- collectedImages() }

// Collect sends how many images were removed and why, under the kubelet's name.
func (c *Images) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(collectedImages(), prometheus.CounterValue, float64(c.counts.age.Load()), "age")
	ch <- prometheus.MustNewConstMetric(collectedImages(), prometheus.CounterValue, float64(c.counts.space.Load()), "space")
}

func collectedImages() *prometheus.Desc {
	return prometheus.NewDesc("kubelet_image_garbage_collected_total",
		"Total number of images that were removed since nobody used them, for lack of space or by their age.", []string{"reason"}, nil)
}
