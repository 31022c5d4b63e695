package devcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// ErrNotUp is returned by methods that need a cluster that is up.
var ErrNotUp = errors.New("devcluster: the cluster is not up: run cluster up")

// readyWithin bounds the start of one component; the slowest, the API server,
// takes about ten seconds on two cores.
const readyWithin = 2 * time.Minute

// Up brings up what is missing. It reports whether anything was: false means
// that the cluster was up already.
func (c *Cluster) Up(ctx context.Context) (changed bool, err error) {
	if err := requireRoot(); err != nil {
		return false, err
	}
	unlock, err := c.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	known, err := c.load()
	if err != nil {
		return false, err
	}
	if !known {
		if err := c.choose(); err != nil {
			return false, err
		}
	}
	if known && c.allAlive() {
		if err := c.Network().Up(ctx); err != nil { // a cut cable is mended
			return false, fmt.Errorf("devcluster: %w", err)
		}
		return false, nil
	}
	if err := c.prepare(ctx); err != nil {
		return false, err
	}
	parts := []component{c.containerd()}
	if !c.External() {
		plane, err := c.controlPlane()
		if err != nil {
			return false, err
		}
		parts = append(plane, parts...)
	}
	for _, p := range parts {
		if err := c.bring(ctx, p); err != nil {
			return true, err
		}
	}
	return true, c.images(ctx)
}

// prepare makes everything that must be there before the first process.
func (c *Cluster) prepare(ctx context.Context) error {
	if err := c.Install(ctx, needs...); err != nil {
		return err
	}
	if err := c.build(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(c.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := c.save(); err != nil {
		return err
	}
	if !c.External() {
		if err := c.makeCertificates(); err != nil {
			return err
		}
	}
	if err := c.Network().Up(ctx); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return c.writeRuntimeConfig()
}

// names lists the components in the order of their start.
func (c *Cluster) names() []string {
	if c.External() {
		return []string{"containerd"}
	}
	return []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "containerd"}
}

func (c *Cluster) allAlive() bool {
	for _, name := range c.names() {
		if r, err := c.table.Lookup(name); err != nil || !r.Alive() {
			return false
		}
	}
	return true
}

// bring starts one component, unless it runs, and waits until it serves.
func (c *Cluster) bring(ctx context.Context, p component) error {
	began := time.Now()
	if r, err := c.table.Lookup(p.Name); err != nil || !r.Alive() {
		if _, err := c.table.Start(p.Spec); err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
	}
	if err := c.WaitReady(ctx, p.Name, readyWithin, p.ready); err != nil {
		return err
	}
	c.printf("  %-24s ready in %v", p.Name, time.Since(began).Round(100*time.Millisecond))
	return nil
}

// Start starts a further program as part of the cluster: Down stops it.
func (c *Cluster) Start(spec process.Spec) (process.Record, error) {
	unlock, err := c.lock()
	if err != nil {
		return process.Record{}, err
	}
	defer unlock()
	r, err := c.table.Start(spec)
	if err != nil {
		return r, fmt.Errorf("devcluster: %w", err)
	}
	return r, nil
}

// Processes is the table of all programs of the cluster.
func (c *Cluster) Processes() *process.Table { return c.table }

// WaitReady polls ready until it returns nil. It fails when the program of
// that name ends, with the end of its log, or after the time given.
func (c *Cluster) WaitReady(ctx context.Context, name string, atMost time.Duration, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		r, err := c.table.Lookup(name)
		if err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		if !r.Alive() {
			return c.withLog(name, fmt.Errorf("devcluster: %s ended while it should start", name))
		}
		if err = ready(ctx); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return c.withLog(name, fmt.Errorf("devcluster: %s is not ready after %v: %w", name, atMost, err))
		case <-tick.C:
		}
	}
}

func (c *Cluster) withLog(name string, err error) error {
	tail, tailErr := c.table.Tail(name, 15)
	if tailErr != nil {
		return errors.Join(err, tailErr)
	}
	return fmt.Errorf("%w\n--- the end of %s\n%s", err, c.table.LogFile(name), tail)
}
