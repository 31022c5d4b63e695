package join

import (
	"cmp"
	"slices"
	"sync"
)

const (
	codeOK     = "ok"
	codeServer = "server"
)

// Count is how many requests at a path had a result: "ok", or the code of an
// error as it is on the wire ("token-used", "busy").
type Count struct {
	Path, Result string
	N            uint64
}

// counts counts results. Paths and results are constants of this package, so its size is
// bounded.
type counts struct {
	mu sync.Mutex
	n  map[Count]uint64 // by a Count without N
}

func (c *counts) add(path, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[Count]uint64)
	}
	c.n[Count{Path: path, Result: result}]++
}

// Counts lists the results so far, by path and result.
func (h *Handler) Counts() []Count {
	h.count.mu.Lock()
	defer h.count.mu.Unlock()
	out := make([]Count, 0, len(h.count.n))
	for c, n := range h.count.n {
		c.N = n
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Count) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Result, b.Result))
	})
	return out
}
