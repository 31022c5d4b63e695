// Package callbacks keeps functions that are to be called when something happens.
package callbacks

import (
	"maps"
	"slices"
	"sync"
)

// List holds functions in the order in which they were added. The zero List is ready. All
// methods may be called by several goroutines at once.
type List struct {
	mu   sync.Mutex
	last int // the newest id
	all  map[int]func()
}

// Add has Call call f, until remove is called. Remove may be called again. One call of f may
// still run when it returns.
func (l *List) Add(f func()) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = make(map[int]func())
	}
	l.last++
	id := l.last
	l.all[id] = f
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.all, id)
	}
}

// Call calls the functions one after the other. They may call the methods of l.
func (l *List) Call() {
	l.mu.Lock()
	all := make([]func(), 0, len(l.all))
	for _, id := range slices.Sorted(maps.Keys(l.all)) {
		all = append(all, l.all[id])
	}
	l.mu.Unlock()
	for _, f := range all {
		f()
	}
}
