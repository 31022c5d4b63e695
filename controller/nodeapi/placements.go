package nodeapi

import "sync"

// maxPlacements is how many pods are remembered.
const maxPlacements = 16384

// placements remembers which node a pod is bound to, which never changes in a pod's life: a
// pod's further requests need not ask the API server again. A pod that is gone is no harm: the
// API server refuses its token.
type placements struct {
	mu  sync.Mutex
	all map[placement]struct{}
}

type placement struct {
	node, namespace, name, uid string
}

func (p *placements) has(node string, k podClaims) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.all[placement{node, k.Namespace, k.Pod.Name, k.Pod.UID}]
	return ok
}

// add remembers one more, and forgets all when there are too many.
func (p *placements) add(node string, k podClaims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil || len(p.all) >= maxPlacements {
		p.all = make(map[placement]struct{})
	}
	p.all[placement{node, k.Namespace, k.Pod.Name, k.Pod.UID}] = struct{}{}
}
