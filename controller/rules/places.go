package rules

import "sync"

// places bounds requests: in all, and for one node.
type places struct {
	max, maxNode int

	mu    sync.Mutex
	used  int
	nodes map[string]int
	done  bool // no more places are given
	group sync.WaitGroup
}

func newPlaces(limit, limitNode int) *places {
	return &places{max: limit, maxNode: limitNode, nodes: make(map[string]int)}
}

// take takes a place and reports whether there was one.
func (p *places) take(node string) bool {
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

// free gives a place back.
func (p *places) free(node string) {
	p.mu.Lock()
	p.used--
	if p.nodes[node]--; p.nodes[node] == 0 {
		delete(p.nodes, node)
	}
	p.mu.Unlock()
	p.group.Done()
}

// close gives no more places and waits until all are free.
func (p *places) close() {
	p.mu.Lock()
	p.done = true
	p.mu.Unlock()
	p.group.Wait()
}
