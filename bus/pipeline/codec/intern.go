package codec

import "sync/atomic"

// names remembers the keys of objects: the events of a source have the same keys again and
// again. It holds a fixed number of short keys; a new one replaces the one in its place.
// Several goroutines may use it at once.
type names struct {
	slots [256]atomic.Pointer[string]
}

// maxName is the longest key that is remembered, in bytes.
const maxName = 32

// of returns b as a string, and whether it was allocated for this call.
func (n *names) of(b []byte) (name string, fresh bool) {
	if len(b) > maxName {
		return string(b), true
	}
	h := uint32(2166136261) // FNV-1a
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	slot := &n.slots[(h^h>>8^h>>16)&255]
	if p := slot.Load(); p != nil && *p == string(b) {
		return *p, false
	}
	s := string(b)
	slot.Store(&s)
	return s, true
}
