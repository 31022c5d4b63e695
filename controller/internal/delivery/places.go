package delivery

import "sync"

// Places bounds requests: in all, and for one node. Its methods may be called by several
// goroutines at once.
type Places struct {
	max, maxNode int

	mu    sync.Mutex
	used  int
	nodes map[string]int
	done  bool // no more places are given
	group sync.WaitGroup
}

// NewPlaces returns Places for limit requests, limitNode of one node.
func NewPlaces(limit, limitNode int) *Places {
	return &Places{max: limit, maxNode: limitNode, nodes: make(map[string]int)}
}

// Take takes a place and reports whether there was one.
func (p *Places) Take(node string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done || p.used >= p.max || p.nodes[node] >= p.maxNode {
		return false
	}
	p.used++
	p.nodes[node]++
	p.group.Add(1)
	return true
}

// Free gives a place back.
func (p *Places) Free(node string) {
	p.mu.Lock()
	p.used--
	if p.nodes[node]--; p.nodes[node] == 0 {
		delete(p.nodes, node)
	}
	p.mu.Unlock()
	p.group.Done()
}

// Close gives no more places and waits until all are free.
func (p *Places) Close() {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.group.Wait()
}
