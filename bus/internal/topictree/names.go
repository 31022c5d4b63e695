package topictree

import "strings"

// Names holds one value per topic and finds those that match a filter. Its zero value
// is empty and ready for use.
type Names[V any] struct {
	root name[V]
	size int
}

type name[V any] struct {
	children map[string]*name[V]
	value    *V
}

// Len is how many topics have a value.
func (t *Names[V]) Len() int { return t.size }

// Get returns the topic's value.
func (t *Names[V]) Get(topic string) (v V, ok bool) {
	n := &t.root
	for more := true; more && n != nil; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		n = n.children[level]
	}
	if n == nil || n.value == nil {
		return v, false
	}
	return *n.value, true
}

// Set sets the topic's value.
func (t *Names[V]) Set(topic string, value V) {
	n := &t.root
	for more := true; more; {
		var level string
		level, topic, more = strings.Cut(topic, "/")
		child := n.children[level]
		if child == nil {
			child = &name[V]{}
			if n.children == nil {
				n.children = make(map[string]*name[V])
			}
			n.children[strings.Clone(level)] = child
		}
		n = child
	}
	if n.value == nil {
		t.size++
	}
	n.value = &value
}

// Delete removes the topic's value and reports whether there was one.
func (t *Names[V]) Delete(topic string) bool {
	if !t.root.remove(topic) {
		return false
	}
	t.size--
	return true
}

func (n *name[V]) remove(topic string) bool {
	level, below, more := strings.Cut(topic, "/")
	child := n.children[level]
	if child == nil {
		return false
	}
	var found bool
	if more {
		found = child.remove(below)
	} else {
		found = child.value != nil
		child.value = nil
	}
	if child.value == nil && len(child.children) == 0 {
		delete(n.children, level)
	}
	return found
}

// Match calls f for the value of each topic that matches filter, in no order. f must
// not change t.
func (t *Names[V]) Match(filter string, f func(V)) { t.root.match(filter, true, f) }

func (n *name[V]) match(filter string, root bool, f func(V)) {
	level, below, more := strings.Cut(filter, "/")
	if level == "#" && !more {
		if n.value != nil {
			f(*n.value)
		}
		n.all(root, f)
		return
	}
	if level != "+" {
		if child := n.children[level]; child != nil {
			child.matchBelow(below, more, f)
		}
		return
	}
	for level, child := range n.children {
		if !root || !strings.HasPrefix(level, "$") {
			child.matchBelow(below, more, f)
		}
	}
}

func (n *name[V]) matchBelow(filter string, more bool, f func(V)) {
	if more {
		n.match(filter, false, f)
	} else if n.value != nil {
		f(*n.value)
	}
}

// all calls f for everything below n.
func (n *name[V]) all(root bool, f func(V)) {
	for level, child := range n.children {
		if root && strings.HasPrefix(level, "$") {
			continue
		}
		if child.value != nil {
			f(*child.value)
		}
		child.all(false, f)
	}
}
