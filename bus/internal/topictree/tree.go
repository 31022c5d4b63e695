package topictree

import (
	"slices"
	"strings"
)

// Tree holds values under filters, one per key and filter. Its zero value is empty
// and ready for use.
type Tree[K comparable, V any] struct {
	root node[K, V]
	size int
}

type node[K comparable, V any] struct {
	children map[string]*node[K, V] // by level; "+" is one of them
	plus     *node[K, V]            // children["+"], found without hashing
	here     []item[K, V]           // filters that end here
	index    map[K]int              // of here, once that is long
	rest     []item[K, V]           // filters that end with "#" below this level
	restAt   map[K]int              // of rest, once that is long
}

type item[K comparable, V any] struct {
	key   K
	value V
}

// indexed is the length from which a list of one filter has an index.
const indexed = 16

// Len is how many values the tree holds.
func (t *Tree[K, V]) Len() int { return t.size }

// Add puts value under filter for key. It reports whether the key had none there.
func (t *Tree[K, V]) Add(filter string, key K, value V) bool {
	n, rest := t.walk(filter)
	list, index := &n.here, &n.index
	if rest {
		list, index = &n.rest, &n.restAt
	}
	if i := find(*list, *index, key); i >= 0 {
		(*list)[i].value = value
		return false
	}
	*list = append(*list, item[K, V]{key, value})
	if *index != nil {
		(*index)[key] = len(*list) - 1
	} else if len(*list) == indexed {
		*index = make(map[K]int, 2*indexed)
		for i, it := range *list {
			(*index)[it.key] = i
		}
	}
	t.size++
	return true
}

// walk makes the nodes of filter. rest says that the filter ends with "#".
func (t *Tree[K, V]) walk(filter string) (n *node[K, V], rest bool) {
	n = &t.root
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		if level == "#" && !more {
			return n, true
		}
		child := n.children[level]
		if child == nil {
			child = &node[K, V]{}
			if n.children == nil {
				n.children = make(map[string]*node[K, V])
			}
			level = strings.Clone(level)
			n.children[level] = child
			if level == "+" {
				n.plus = child
			}
		}
		n = child
	}
	return n, false
}

// Get returns the key's value under filter.
func (t *Tree[K, V]) Get(filter string, key K) (v V, ok bool) {
	n := &t.root
	for more := true; more; {
		var level string
		level, filter, more = strings.Cut(filter, "/")
		if level == "#" && !more {
			return value(n.rest, n.restAt, key)
		}
		if n = n.children[level]; n == nil {
			return v, false
		}
	}
	return value(n.here, n.index, key)
}

func value[K comparable, V any](list []item[K, V], index map[K]int, key K) (v V, ok bool) {
	if i := find(list, index, key); i >= 0 {
		return list[i].value, true
	}
	return v, false
}

func find[K comparable, V any](list []item[K, V], index map[K]int, key K) int {
	if index != nil {
		if i, ok := index[key]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(list, func(it item[K, V]) bool { return it.key == key })
}

// Remove removes the key's value under filter and reports whether there was one.
func (t *Tree[K, V]) Remove(filter string, key K) bool {
	if !t.root.remove(filter, key) {
		return false
	}
	t.size--
	return true
}

func (n *node[K, V]) remove(filter string, key K) bool {
	level, below, more := strings.Cut(filter, "/")
	if level == "#" && !more {
		return take(&n.rest, &n.restAt, key)
	}
	child := n.children[level]
	if child == nil {
		return false
	}
	var found bool
	if more {
		found = child.remove(below, key)
	} else {
		found = take(&child.here, &child.index, key)
	}
	if found && len(child.children) == 0 && len(child.here) == 0 && len(child.rest) == 0 {
		delete(n.children, level)
		if level == "+" {
			n.plus = nil
		}
	}
	return found
}

// take removes the key's item; the last one takes its place.
func take[K comparable, V any](list *[]item[K, V], index *map[K]int, key K) bool {
	i := find(*list, *index, key)
	if i < 0 {
		return false
	}
	last := len(*list) - 1
	(*list)[i] = (*list)[last]
	(*list)[last] = item[K, V]{}
	*list = (*list)[:last]
	if *index != nil {
		if i < last {
			(*index)[(*list)[i].key] = i
		}
		delete(*index, key)
	}
	if last == 0 {
		*list, *index = nil, nil
	}
	return true
}

// Match calls f for each value whose filter matches topic, in no order. f must not
// change the tree.
func (t *Tree[K, V]) Match(topic string, f func(K, V)) {
	t.root.match(topic, topic != "" && topic[0] == '$', f)
}

// match looks at the levels of topic below n; system says that n is the root and the
// first level begins with "$".
func (n *node[K, V]) match(topic string, system bool, f func(K, V)) {
	if !system {
		each(n.rest, f)
	}
	level, below, more := topic, "", false
	if i := strings.IndexByte(topic, '/'); i >= 0 {
		level, below, more = topic[:i], topic[i+1:], true
	}
	child := n.children[level]
	for range 2 {
		if child != nil {
			if more {
				child.match(below, false, f)
			} else {
				each(child.here, f)
				each(child.rest, f)
			}
		}
		if child = n.plus; system {
			return
		}
	}
}

func each[K comparable, V any](list []item[K, V], f func(K, V)) {
	for i := range list {
		f(list[i].key, list[i].value)
	}
}
