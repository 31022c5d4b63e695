package codec

import "fmt"

const (
	// Multiple is how many bytes a decoder may allocate for each byte that it was given.
	Multiple = 20
	// Free is what a decoder may allocate for any input, in bytes, however short.
	Free = 64 << 10
	// MaxDepth is the deepest nesting of lists and maps that a decoder accepts.
	MaxDepth = 64

	costMap  = 48                // a map without entries
	costSlot = 16 + 16           // a key and its value
	costRoom = 8*costSlot + 8    // the room for the first eight entries
	costItem = 16                // an element of a list
	costList = 24                // a list in an interface
	costBox  = 8                 // a number in an interface
	costText = 16                // a string in an interface, without its bytes
	minSlots = 8                 // entries that a map has room for at first
	maxSlots = 1 << 30           // no map of one event has more
	tableMin = costRoom + 8 + 64 // a map beyond eight entries keeps tables
)

// budget is what is left for one input to be spent on its decoded form.
type budget int

// budgetOf returns the budget for an input of n bytes.
func budgetOf(n int) budget { return budget(n*Multiple + Free) }

// spend takes n bytes, and reports whether they were left.
func (b *budget) spend(n int) bool {
	*b -= budget(n)
	return *b >= 0
}

// entry is what one more entry costs in a map that has n.
func entryCost(n int) int {
	switch {
	case n == 0:
		return costRoom
	case n >= minSlots && n < maxSlots && n&(n-1) == 0: // it doubles, and copies
		return 2*n*costSlot*8/7 + tableMin
	}
	return 0
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
