package groups

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

// Bounds of the work.
const (
	parallelWrites = 8
	maxPause       = 30 * time.Second
	evictEvery     = 5 * time.Second // between two tries of an eviction that was not allowed
)

// work is the work of groups while this cloudcore leads. One goroutine uses it.
type work struct {
	c       *Controller
	applied map[string]labels          // what each node's labels were last set to
	written map[types.UID]time.Time    // when a status was last written
	done    map[types.UID]*application // what was applied of each application
	fleet   *fleet                     // as of the last look at groups
	due     time.Time                  // when to look at groups again; zero is never
}

// lead does the work of groups until ctx ends.
func (c *Controller) lead(ctx context.Context) {
	for pause := time.Second; ; pause = min(2*pause, maxPause) {
		err := c.current(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			c.log.Warn("groups cannot be read from the API server; trying again", "err", err)
		}
		if !leader.Sleep(ctx, pause) {
			return
		}
	}
	c.counts.leading.Store(1) // before the stores are read: what changes from now on is kept
	defer c.counts.leading.Store(0)
	c.log.Info("this cloudcore does the work of groups")
	w := &work{c: c, applied: make(map[string]labels), written: make(map[types.UID]time.Time), done: make(map[types.UID]*application)}
	fresh, pause, logged := c.takeChanges(), time.Duration(0), time.Time{}
	fresh.groups = true
	for _, app := range c.apps.Objects() {
		fresh.apps[app.UID] = true
	}
	for leader.Sleep(ctx, 0) {
		next, err := w.round(ctx, &fresh)
		switch {
		case err == nil:
			pause, fresh = 0, changes{apps: make(map[types.UID]bool)}
		case ctx.Err() == nil: // what was looked at is looked at again
			pause = min(max(2*pause, c.cfg.Every), maxPause)
			next = earlier(next, time.Now().Add(pause))
			if time.Since(logged) >= pause {
				logged = time.Now()
				c.log.Warn("what was decided about groups cannot be written; trying again", "err", err, "pause", pause)
			}
		}
		if !leader.Wait(ctx, c.wake, next, c.cfg.Every) { // a change does not wait for what cannot be written
			return
		}
		more := c.takeChanges()
		fresh.groups = fresh.groups || more.groups
		maps.Copy(fresh.apps, more.apps)
	}
}

// errStale is that the watch has not yet what the API server has.
var errStale = errors.New("controller/groups: the watch lags behind the API server")

// current reports whether the watch has the groups as the API server has them: the cloudcore that
// led before may have written labels for a group that is not known here yet.
func (c *Controller) current(ctx context.Context) error {
	list, err := c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.NodeGroups)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("controller/groups: %w", err)
	}
	for i := range list.Items {
		have, ok := c.groups.Load(cache.Name{Name: list.Items[i].GetName()})
		if !ok || have.Object.UID != list.Items[i].GetUID() || have.Object.Generation < list.Items[i].GetGeneration() {
			return errStale
		}
	}
	return nil
}

// fleet is what was known of groups and nodes at one time.
type fleet struct {
	groups []*v1alpha1.NodeGroup
	nodes  []*corev1.Node
	byName map[string]*corev1.Node
	*assignment
}

func (c *Controller) fleet() *fleet {
	f := &fleet{groups: c.groups.Objects(), nodes: c.cfg.Nodes.Objects()}
	f.byName = make(map[string]*corev1.Node, len(f.nodes))
	for _, n := range f.nodes {
		f.byName[n.Name] = n
	}
	f.assignment = assign(f.groups, f.nodes)
	return f
}

// round looks at what has changed and carries out what follows. It returns when to look again at
// the latest; zero is never.
func (w *work) round(ctx context.Context, fresh *changes) (next time.Time, err error) {
	var failed [2]error
	if fresh.groups || !w.due.IsZero() && !w.due.After(time.Now()) {
		w.fleet = w.c.fleet()
		w.due, failed[0] = w.lookAtGroups(ctx, w.fleet)
	}
	next, failed[1] = w.lookAtApplications(ctx, w.fleet, fresh)
	maps.DeleteFunc(w.written, func(_ types.UID, at time.Time) bool { return time.Since(at) > w.c.cfg.StatusEvery })
	return earlier(next, w.due), errors.Join(failed[:]...)
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// write makes writes, some at a time, and returns the first error.
func (c *Controller) write(ctx context.Context, writes []func(context.Context) error) error {
	var g errgroup.Group
	g.SetLimit(parallelWrites)
	for _, write := range writes {
		if c.limit.Wait(ctx) != nil {
			break
		}
		g.Go(func() error {
			err := write(ctx)
			if err != nil {
				c.counts.writesFailed.Add(1)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// statusDue says when a status may be written; zero is now.
func (w *work) statusDue(uid types.UID, urgent bool) time.Time {
	at := w.written[uid].Add(w.c.cfg.StatusEvery)
	if urgent || !at.After(time.Now()) {
		return time.Time{}
	}
	return at
}
