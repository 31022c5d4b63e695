// Package keyed holds bounded state by keys: when it is full, the key that was longest not
// written is forgotten.
package keyed

import (
	"container/list"
	"slices"
)

// Table is state by keys. It is for one goroutine.
type Table[T any] struct {
	max     int
	byKey   map[string]*list.Element
	order   list.List // of *entry[T], the longest not written first
	changed []*entry[T]
	gone    map[string]struct{}
}

type entry[T any] struct {
	key   string
	v     T
	dirty bool
	gone  bool
}

// New returns a Table for max keys.
func New[T any](max int) *Table[T] {
	return &Table[T]{max: max, byKey: make(map[string]*list.Element), gone: make(map[string]struct{})}
}

// Len returns how many keys there are.
func (t *Table[T]) Len() int { return len(t.byKey) }

// Get returns the state of a key.
func (t *Table[T]) Get(key string) (v T, ok bool) {
	if e := t.byKey[key]; e != nil {
		return e.Value.(*entry[T]).v, true
	}
	return v, false
}

// Put sets the state of a key.
func (t *Table[T]) Put(key string, v T) {
	en := t.put(key, v)
	if !en.dirty {
		en.dirty = true
		t.changed = append(t.changed, en)
	}
}

// Restore is Put of what a store has. Call Sort after the last.
func (t *Table[T]) Restore(key string, v T) { t.put(key, v) }

// Sort orders the keys as if those that compare before were written before.
func (t *Table[T]) Sort(compare func(a, b T) int) {
	all := make([]*entry[T], 0, len(t.byKey))
	for e := t.order.Front(); e != nil; e = e.Next() {
		all = append(all, e.Value.(*entry[T]))
	}
	slices.SortStableFunc(all, func(a, b *entry[T]) int { return compare(a.v, b.v) })
	t.order.Init()
	for _, en := range all {
		t.byKey[en.key] = t.order.PushBack(en)
	}
}

func (t *Table[T]) put(key string, v T) *entry[T] {
	if e := t.byKey[key]; e != nil {
		en := e.Value.(*entry[T])
		en.v = v
		t.order.MoveToBack(e)
		return en
	}
	for len(t.byKey) >= t.max {
		t.drop(t.order.Front())
	}
	en := &entry[T]{key: key, v: v}
	t.byKey[key] = t.order.PushBack(en)
	delete(t.gone, key)
	return en
}

func (t *Table[T]) drop(e *list.Element) {
	en := e.Value.(*entry[T])
	t.order.Remove(e)
	delete(t.byKey, en.key)
	en.gone = true
	t.gone[en.key] = struct{}{}
}

// Expire forgets keys, the longest not written first, while old says so.
func (t *Table[T]) Expire(old func(v T) bool) {
	for e := t.order.Front(); e != nil && old(e.Value.(*entry[T]).v); e = t.order.Front() {
		t.drop(e)
	}
}

// Changes calls f with the keys that changed since the last call; exists is false for those
// that are gone.
func (t *Table[T]) Changes(f func(key string, v T, exists bool)) {
	var none T
	for key := range t.gone {
		f(key, none, false)
	}
	clear(t.gone)
	for _, en := range t.changed {
		en.dirty = false
		if !en.gone {
			f(en.key, en.v, true)
		}
	}
	clear(t.changed)
	t.changed = t.changed[:0]
}
