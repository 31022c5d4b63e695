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

// settled is how long after a pod the objects that it refers to may still come. The cloud
// sends both at once, or the objects a moment later if the API server's node authorizer
// did not know the pod yet.
const settled = time.Minute

// absences is implemented by a Manager that knows which objects do not exist without
// asking the cloud; manager.Manager does.
type absences interface {
	// Absent reports whether the cloud said that the object does not exist, and the link
	// has been in step since the store's revision since, so that it would have brought
	// the object.
	Absent(ctx context.Context, key meta.Key, since uint64) (bool, error)
}

// referrer is the newest pod that refers to an object: the store's revision and
// the time at which it was stored.
type referrer struct {
	revision uint64
	stored   time.Time
}

// noteReferrers records which objects the pods refer to.
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

// readReference reads an object that pods may refer to. The store has all objects that
// this node's pods refer to. So one that the store lacks does not exist:
//
//   - if the cloud said so, see manager.Manager.Absent;
//   - else, when nobody answers, if the store was in step with the cloud once and
//     the reference has had its time to follow the pod.
func readReference[T any](ctx context.Context, c *Client, key meta.Key) (*T, error) {
	body, err := c.readBody(ctx, key)
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := jsonlimit.Unmarshal(body, v); err != nil {
		return nil, fmt.Errorf("meta/kube: %s: %w", key, err)
	}
	return v, nil
}

// readBody is readReference without the decoding.
func (c *Client) readBody(ctx context.Context, key meta.Key) ([]byte, error) {
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
	return o.Body, nil
}

// assumeAbsent reports whether an object that the store lacks counts as absent while
// nobody can be asked. It does not if the store fails.
func (c *Client) assumeAbsent(ctx context.Context, key meta.Key, by referrer) bool {
	if whole, err := meta.Synced(ctx, c.cfg.Store); err != nil || !whole {
		return false
	}
	if _, err := c.cfg.Store.Get(ctx, meta.Down+key.Path()); !errors.Is(err, meta.ErrNotFound) {
		return false // the object is there, but cannot be read
	}
	age := c.cfg.Now().Sub(by.stored)
	return age < 0 || age >= settled // age < 0: the clock was set back, and the pod is older than that
}
