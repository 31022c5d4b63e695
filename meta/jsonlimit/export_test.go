package jsonlimit

import "reflect"

// Reckon returns what is reckoned for the memory of into, a pointer, when b is decoded
// into it without a limit, how far b was read, and whether that was to its end.
func Reckon(b []byte, into any) (memory, at int, whole bool) {
	const most = 1 << 40
	w := walker{b: b, left: most}
	w.value(shapeOf(reflect.TypeOf(into).Elem()), 0)
	return most - w.left, w.at, w.over == none
}
