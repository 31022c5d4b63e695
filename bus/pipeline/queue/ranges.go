package queue

import "slices"

// span is the numbers from from to before to.
type span struct{ from, to uint64 }

// spans is a set of numbers: sorted, none touches the next.
type spans []span

// maxSpans bounds a set. What has more holes closes the smallest: numbers that no record has
// are skipped when they are read.
const maxSpans = 64

// add adds the numbers of a.
func (s *spans) add(a span) {
	if a.from >= a.to {
		return
	}
	i, _ := slices.BinarySearchFunc(*s, a.from, func(e span, n uint64) int {
		if e.to < n {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(*s) && (*s)[j].from <= a.to; j++ {
		a.from, a.to = min(a.from, (*s)[j].from), max(a.to, (*s)[j].to)
	}
	*s = slices.Replace(*s, i, j, a)
}

// remove removes the numbers of a.
func (s *spans) remove(a span) {
	if a.from >= a.to {
		return
	}
	var out spans
	changed := false
	for i, e := range *s {
		if e.to <= a.from || e.from >= a.to {
			if changed {
				out = append(out, e)
			}
			continue
		}
		if !changed {
			out, changed = append(make(spans, 0, len(*s)+1), (*s)[:i]...), true
		}
		if e.from < a.from {
			out = append(out, span{e.from, a.from})
		}
		if e.to > a.to {
			out = append(out, span{a.to, e.to})
		}
	}
	if changed {
		*s = out
	}
}

// next returns the least number of the set that is at least n.
func (s spans) next(n uint64) (uint64, bool) {
	for _, e := range s {
		if e.to > n {
			return max(e.from, n), true
		}
	}
	return 0, false
}

// has reports whether n is in the set.
func (s spans) has(n uint64) bool {
	got, ok := s.next(n)
	return ok && got == n
}

// bound closes the smallest holes until the set has at most maxSpans.
func (s *spans) bound() {
	for len(*s) > maxSpans {
		best := 1
		for i := 2; i < len(*s); i++ {
			if (*s)[i].from-(*s)[i-1].to < (*s)[best].from-(*s)[best-1].to {
				best = i
			}
		}
		(*s)[best-1].to = (*s)[best].to
		*s = slices.Delete(*s, best, best+1)
	}
}
