package codec

import "fmt"

const (
	// Multiple is how many bytes a decoder may allocate for each byte that it was given.
	Multiple = 20
	// perByte is what is computed with: real use may be a little higher.
	perByte = Multiple - 1
	// Free is what a decoder may allocate for any input, in bytes, however short.
	Free = 64 << 10
	// MaxDepth is the deepest nesting of lists and maps that a decoder accepts.
	MaxDepth = 64

	costMap  = 48          // a map without entries
	costSlot = 16 + 16 + 1 // the place of a key and its value
	costItem = 16          // an element of a list
	costList = 24          // a list in an interface
	costBox  = 8           // a number in an interface
	costText = 16          // a string in an interface, without its bytes
	slots    = 8           // places that a map has at first
	split    = 1024        // places from which a map grows in parts

	chunk = 512 // elements of a list that are kept together until it is whole
)

// budget is what is left for one input to be spent on its decoded form.
type budget int

// budgetOf returns the budget for an input of n bytes.
func budgetOf(n int) budget { return budget(n*perByte + Free) }

// spend takes n bytes, and reports whether they were left.
func (b *budget) spend(n int) bool {
	*b -= budget(n)
	return *b >= 0
}

// entryCost is what one more entry costs in a map that has n and was made without a size. A map
// grows when seven of eight of its places are taken.
func entryCost(n int) int {
	switch {
	case n == 0:
		return placesCost(slots)
	case n == slots:
		return placesCost(2*slots) + 64
	case n < slots || n%7 != 0 || n/7&(n/7-1) != 0:
		return 0
	case n >= split:
		return 5 * n * costSlot
	}
	return placesCost(2 * n / 7 * 8)
}

// mapCost is what a map costs that is made for n entries.
func mapCost(n int) int {
	if n <= slots {
		return costMap + placesCost(slots)
	}
	places := 2 * slots
	for places*7/8 < n {
		places *= 2
	}
	return costMap + placesCost(places) + 64
}

// placesCost is what so many places of a map take.
func placesCost(n int) int { return n*costSlot*9/8 - 9 }

// textCost is what a string of n bytes costs in an interface.
func textCost(n int) int { return costText + (n+15)&^7 }

// listBuilder gathers a list whose length is not known, in chunks, so that growing costs
// little.
type listBuilder struct {
	full [][]any
	last []any
}

// add appends v, and reports whether the budget allowed that.
func (l *listBuilder) add(v any, left *budget) bool {
	switch n := cap(l.last); {
	case len(l.last) < n:
	case n < chunk:
		n = max(2*n, 4)
		if !left.spend(n * costItem) {
			return false
		}
		l.last = append(make([]any, 0, n), l.last...)
	default:
		if !left.spend(chunk*costItem + 5*costList) {
			return false
		}
		l.full, l.last = append(l.full, l.last), make([]any, 0, chunk)
	}
	l.last = append(l.last, v)
	return true
}

// list returns the list, and whether the budget allowed that.
func (l *listBuilder) list(left *budget) ([]any, bool) {
	n := len(l.full)*chunk + len(l.last)
	if !left.spend(n*costItem + costList) {
		return nil, false
	}
	list := make([]any, 0, n)
	for _, c := range l.full {
		list = append(list, c...)
	}
	return append(list, l.last...), true
}

// A LimitError says that an input was refused for what decoding it would need.
type LimitError struct {
	Format string // of the input, for example json
	Offset int    // in the input, in bytes
	Deep   bool   // nested deeper than MaxDepth; otherwise the memory is over the limit
}

func (e *LimitError) Error() string {
	if e.Deep {
		return fmt.Sprintf("codec: %s at byte %d: values are nested more than %d levels deep: flatten them", e.Format, e.Offset, MaxDepth)
	}
	return fmt.Sprintf("codec: %s at byte %d: decoding needs more than %d bytes of memory for each byte of the event: it has too many values that are empty or very small", e.Format, e.Offset, Multiple)
}
