package jsonlimit

import (
	"bytes"
	"unicode/utf8"
)

// Costs in bytes, of encoding/json and of the runtime.
const (
	costMap      = 48  // of an empty map
	costMismatch = 160 // an error that is made and dropped, for a value of another type
	costOwn      = 224 // of a decoder within a decoder
	costBox      = 24  // a list in an interface
)

// spend takes n bytes, as the runtime rounds them.
func (w *walker) spend(n int) {
	if n <= 0 {
		return
	}
	if n <= 32<<10 {
		n = (n + n/8 + 7) &^ 7
	} else {
		n = (n + 8<<10 - 1) &^ (8<<10 - 1)
	}
	if w.left -= n; w.left < 0 && w.over == none {
		w.over = tooMuch
	}
}

// grown is how the runtime lets a slice grow.
func grown(n int) int {
	switch {
	case n == 0:
		return 1
	case n < 256:
		return 2 * n
	}
	return n + (n+3*256)/4
}

// slots are the places in a map.
type slots struct {
	size  int // of a place
	extra int // allocated for each entry besides
	have  int
	used  int
}

// add returns what one more entry allocates.
func (m *slots) add() int {
	n := m.extra
	if m.used == 0 {
		m.have = 8
		n += 8*m.size + 8
	} else if m.used >= m.have*7/8 && (m.have > 8 || m.used == 8) {
		m.have *= 2
		n += m.have*(m.size+1) + 64
	}
	m.used++
	return n
}

func ownCost(s *shape, n int) int {
	switch {
	case s.kind == raw:
		return n
	case s.quantity && n <= 20:
		return n + 16
	case s.quantity: // its number is of any size
		return 64 + 24*n
	}
	return costOwn + 2*n
}

// stringCost is what a string of that much text between quotes takes.
func stringCost(value []byte) int {
	switch {
	case len(value) < 2:
		return 0
	case bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value):
		return len(value)
	}
	return 8*len(value) + 16 // unquoted first, and three bytes for one that is no UTF-8
}
