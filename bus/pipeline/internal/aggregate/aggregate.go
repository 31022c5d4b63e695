// Package aggregate makes one value of many: count, sum, avg, min, max, first, last, stddev
// and collect.
package aggregate

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
)

// MaxCollect is how many values collect holds, MaxBytes how many bytes of them; it keeps the
// first. A value for first or last has at most MaxBytes, too.
const (
	MaxCollect = 1000
	MaxBytes   = 16 << 10
)

// Kind is a kind of aggregate.
type Kind byte

// The kinds of aggregates.
const (
	Count Kind = iota + 1
	Sum
	Avg
	Min
	Max
	First
	Last
	Stddev
	Collect
)

var names = [...]string{Count: "count", Sum: "sum", Avg: "avg", Min: "min", Max: "max", First: "first", Last: "last", Stddev: "stddev", Collect: "collect"}

// ByName returns the kind with the name.
func ByName(name string) (Kind, bool) {
	for k, n := range names {
		if n != "" && n == name {
			return Kind(k), true
		}
	}
	return 0, false
}

// String returns the name.
func (k Kind) String() string { return names[k] }

// Numeric reports whether the kind needs numbers.
func (k Kind) Numeric() bool { return k >= Sum && k <= Max || k == Stddev }

// Large reports whether the kind keeps values of up to MaxBytes.
func (k Kind) Large() bool { return k == First || k == Last || k == Collect }

// Acc holds the values of one aggregate so far. The zero value has none.
type Acc struct {
	n    int64   // how many values
	a, b float64 // sum; mean and sum of squares of differences; least or greatest
	at   int64   // time of the first or last value
	v    any     // first or last; *collected
}

type collected struct {
	at    []int64
	v     []any
	bytes int
}

// Check reports whether v can be added.
func (k Kind) Check(v any) error {
	switch {
	case k.Large():
		raw, err := value.Append(nil, v)
		if err == nil && len(raw) > MaxBytes {
			err = fmt.Errorf("%s keeps values of at most %d bytes, not %d", k, MaxBytes, len(raw))
		}
		return err
	case !k.Numeric():
		return nil
	}
	if f, ok := values.Number(v); !ok || math.IsNaN(f) {
		return fmt.Errorf("%s needs a number, not %s", k, values.Short(v))
	}
	return nil
}

// Add adds a value with its time. v must have passed Check.
func (k Kind) Add(a *Acc, at int64, v any) {
	f, _ := values.Number(v)
	k.merge(a, &Acc{n: 1, a: f, at: at, v: v}, true)
}

// Merge adds all values of b.
func (k Kind) Merge(a, b *Acc) { k.merge(a, b, false) }

// merge adds b to a. If single is set, b is one value in v and a.
func (k Kind) merge(a, b *Acc, single bool) {
	if b.n == 0 {
		return
	}
	empty := a.n == 0
	switch k {
	case Sum, Avg:
		a.a += b.a
	case Min:
		if empty || b.a < a.a {
			a.a = b.a
		}
	case Max:
		if empty || b.a > a.a {
			a.a = b.a
		}
	case First:
		if empty || b.at < a.at {
			a.at, a.v = b.at, b.v
		}
	case Last:
		if empty || b.at >= a.at {
			a.at, a.v = b.at, b.v
		}
	case Stddev: // Welford; Chan for two parts
		d, n := b.a-a.a, float64(a.n+b.n)
		a.b += b.b + d*d*float64(a.n)*float64(b.n)/n
		a.a += d * float64(b.n) / n
	case Collect:
		k.collect(a, b, single)
	}
	a.n += b.n
}

func (k Kind) collect(a, b *Acc, single bool) {
	c, _ := a.v.(*collected)
	if c == nil {
		c = &collected{}
		a.v = c
	}
	if single {
		c.add(b.at, b.v)
		return
	}
	other, _ := b.v.(*collected)
	if other == nil {
		return
	}
	for i, v := range other.v {
		c.add(other.at[i], v)
	}
}

func (c *collected) add(at int64, v any) {
	raw, err := value.Append(nil, v)
	if err != nil || len(c.v) >= MaxCollect || c.bytes+len(raw) > MaxBytes {
		return
	}
	c.at, c.v, c.bytes = append(c.at, at), append(c.v, v), c.bytes+len(raw)
}

// Result returns the aggregate's value: int64 for count, float64 for numbers, nil if there
// was no value. stddev is that of a sample, 0 for one value. collect sorts by time.
func (k Kind) Result(a *Acc) any {
	switch {
	case k == Count:
		return a.n
	case a.n == 0:
		return nil
	}
	switch k {
	case Avg:
		return a.a / float64(a.n)
	case Stddev:
		if a.n == 1 {
			return 0.0
		}
		return math.Sqrt(a.b / float64(a.n-1))
	case First, Last:
		return a.v
	case Collect:
		c, _ := a.v.(*collected)
		if c == nil {
			return []any{}
		}
		out := &collected{at: append([]int64(nil), c.at...), v: append([]any(nil), c.v...)}
		sort.Stable(out)
		return out.v
	}
	return a.a
}

// Len, Less and Swap sort by time.
func (c *collected) Len() int           { return len(c.v) }
func (c *collected) Less(i, j int) bool { return c.at[i] < c.at[j] }
func (c *collected) Swap(i, j int) {
	c.at[i], c.at[j], c.v[i], c.v[j] = c.at[j], c.at[i], c.v[j], c.v[i]
}

// Append appends the encoding of a.
func (k Kind) Append(b []byte, a *Acc) []byte {
	b = binary.AppendVarint(b, a.n)
	switch k {
	case Count:
	case First, Last:
		b = appendChecked(binary.AppendVarint(b, a.at), a.v)
	case Collect:
		c, _ := a.v.(*collected)
		if c == nil {
			c = &collected{}
		}
		b = binary.AppendUvarint(b, uint64(len(c.v)))
		for i, v := range c.v {
			b = appendChecked(binary.AppendVarint(b, c.at[i]), v)
		}
	case Stddev:
		b = appendFloat(b, a.b)
		fallthrough
	default:
		b = appendFloat(b, a.a)
	}
	return b
}

func appendFloat(b []byte, f float64) []byte { return binary.AppendUvarint(b, math.Float64bits(f)) }

func readFloat(r *value.Reader) float64 { return math.Float64frombits(r.Uint()) }

// appendChecked appends a value that Check has passed.
func appendChecked(b []byte, v any) []byte {
	out, err := value.Append(b, v)
	if err != nil {
		panic("aggregate: a value was added without Check: " + err.Error())
	}
	return out
}

// Read reads what Append has written.
func (k Kind) Read(r *value.Reader) Acc {
	a := Acc{n: r.Int()}
	switch k {
	case Count:
	case First, Last:
		a.at = r.Int()
		a.v = r.Value()
	case Collect:
		c := &collected{}
		for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
			at := r.Int()
			c.add(at, r.Value())
		}
		a.v = c
	case Stddev:
		a.b = readFloat(r)
		fallthrough
	default:
		a.a = readFloat(r)
	}
	return a
}
