package auth

import "time"

// maxCached is how many answers a Cache keeps; one more empties it.
const maxCached = 4096

// Cache keeps answers until they are stale. The zero value is empty; its owner locks it.
type Cache[K comparable, V any] struct {
	items map[K]cached[V]
}

type cached[V any] struct {
	value V
	until time.Time
}

// Get returns the answer for k, if there is one that is not stale at the time now.
func (c *Cache[K, V]) Get(k K, now time.Time) (V, bool) {
	item, ok := c.items[k]
	if !ok || !now.Before(item.until) {
		var none V
		return none, false
	}
	return item.value, true
}

// Put keeps an answer until the time until.
func (c *Cache[K, V]) Put(k K, v V, until time.Time) {
	if c.items == nil || len(c.items) >= maxCached {
		c.items = make(map[K]cached[V])
	}
	c.items[k] = cached[V]{v, until}
}
