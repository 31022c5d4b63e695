package pipelines

import "sync"

// maxPartials bounds what is remembered of batches that were sent in part: one for each source that
// is tried at once.
const maxPartials = 20_000

// sourceKey names a source of a node.
type sourceKey struct{ node, name string }

// partial is the progress of a batch that goes in parts, because its URL refused it as a whole.
// The zero value is a batch of which no part was sent.
type partial struct {
	done  int // how many of its events were sent or refused: those before this index
	taken int // events

	// Events that the URL refuses, and why it refuses the last of them.
	refused int
	why     error
	last    string // that event, as JSON
}

// partials remembers, while a batch is tried again, which parts of it the URL has: those are not sent
// again. It is in memory: another cloudcore knows nothing of it. Its methods may be called by several
// goroutines at once.
type partials struct {
	mu  sync.Mutex
	all map[sourceKey]batchPart
}

// batchPart is the partial of one batch of a source.
type batchPart struct {
	id     uint64
	events int
	partial
}

// load returns the progress of a batch in earlier tries.
func (p *partials) load(from sourceKey, id uint64, events int) partial {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b, ok := p.all[from]; ok && b.id == id && b.events == events {
		return b.partial
	}
	return partial{}
}

// keep remembers the progress of a batch that is tried again. Beyond maxPartials it forgets another
// source, whose batch may then be sent anew.
func (p *partials) keep(from sourceKey, id uint64, events int, what partial) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if what.done == 0 {
		delete(p.all, from)
		return
	}
	if _, ok := p.all[from]; !ok && len(p.all) >= maxPartials {
		for other := range p.all {
			delete(p.all, other)
			break
		}
	}
	if p.all == nil {
		p.all = make(map[sourceKey]batchPart)
	}
	p.all[from] = batchPart{id, events, what}
}

// forget removes what is known of a source.
func (p *partials) forget(from sourceKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, from)
}
