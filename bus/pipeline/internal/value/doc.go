// Package value has the binary form in which the data of events lie in a store: a byte for the
// kind, then the content. Numbers are varints, texts and lists have their length before them,
// and the keys of a map are sorted, so that equal values have equal bytes.
//
// The kinds are those of an event's data: nil, bool, int64, uint64, float64, string, []byte,
// []any and map[string]any. A decoder allocates no more than a stated multiple of its input.
package value
