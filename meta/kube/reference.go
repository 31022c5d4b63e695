package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/references"
)

// settled is how long after a pod what it refers to may still come. The cloud
// sends both at once, or the reference a moment later if the API server's node
// authorizer did not know the pod yet.
const settled = time.Minute

// absences is what a Manager may have besides, to answer without the cloud that
// something does not exist; meta/manager has it.
type absences interface {
	// Absent reports whether the cloud said so, and since the store's revision
	// since the link would have brought the object.
	Absent(ctx context.Context, key meta.Key, since uint64) (bool, error)
}

// referrer is the newest pod that refers to an object: the store's revision and
// the time at which it was stored.
type referrer struct {
	revision uint64
	stored   time.Time
}

// noteReferrers lists what the pods refer to.
func (c *Client) noteReferrers() {
	all := make(map[meta.Key]referrer)
	for _, pod := range c.pods {
		for key := range references.Of(pod.Pod) {
			if all[key].revision < pod.revision {
				all[key] = referrer{pod.revision, pod.stored}
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.referrers = all
}

func (c *Client) referrer(key meta.Key) (referrer, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.referrers[key]
	return r, ok
}

// readReference reads what pods refer to. The mirror on this node is whole
// for what its pods refer to, so that one which is not there does not exist:
//
//   - if the cloud said so, see manager.Manager.Absent;
//   - else, when nobody answers, if the store was in step with the cloud once and
//     the reference has had its time to follow the pod.
func readReference[T any](ctx context.Context, c *Client, key meta.Key) (*T, error) {
	by, referred := c.referrer(key)
	if m, can := c.cfg.Manager.(absences); can && referred {
		absent, err := m.Absent(ctx, key, by.revision)
		if err != nil {
			return nil, wrap(key, err)
		}
		if absent {
			return nil, &NotFoundError{key}
		}
	}
	o, err := c.cfg.Manager.Query(ctx, meta.Object{Key: key})
	if err != nil && referred && !final(err) && ctx.Err() == nil && c.assumeAbsent(ctx, key, by) {
		return nil, &NotFoundError{key}
	}
	if err != nil {
		return nil, wrap(key, err)
	}
	v := new(T)
	if err := jsonlimit.Unmarshal(o.Body, v); err != nil {
		return nil, fmt.Errorf("meta/kube: %s: %w", key, err)
	}
	return v, nil
}

// assumeAbsent reports whether what the store lacks, and nobody answers for, does
// not exist. When the store cannot tell, it is not assumed.
func (c *Client) assumeAbsent(ctx context.Context, key meta.Key, by referrer) bool {
	if whole, err := meta.Synced(ctx, c.cfg.Store); err != nil || !whole {
		return false
	}
	if _, err := c.cfg.Store.Get(ctx, meta.Down+key.Path()); !errors.Is(err, meta.ErrNotFound) {
		return false // it is there, and cannot be read
	}
	age := c.cfg.Now().Sub(by.stored)
	return age < 0 || age >= settled // a clock that began anew: the pod is from before that
}
