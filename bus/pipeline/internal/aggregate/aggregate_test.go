package aggregate_test

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline/internal/aggregate"
	"github.com/edgekit/edgekit/bus/pipeline/internal/value"
)

var all = []aggregate.Kind{ // never changed
	aggregate.Count, aggregate.Sum, aggregate.Avg, aggregate.Min, aggregate.Max, aggregate.First, aggregate.Last, aggregate.Stddev, aggregate.Collect,
}

// want computes a result from all values, which are in the order of their times.
func want(k aggregate.Kind, vs []float64) any {
	sum, low, high := 0.0, math.Inf(1), math.Inf(-1)
	list := []any{}
	for _, v := range vs {
		sum, low, high, list = sum+v, min(low, v), max(high, v), append(list, v)
	}
	mean, squares := sum/float64(len(vs)), 0.0
	for _, v := range vs {
		squares += (v - mean) * (v - mean)
	}
	switch k {
	case aggregate.Count:
		return int64(len(vs))
	case aggregate.Sum:
		return sum
	case aggregate.Avg:
		return mean
	case aggregate.Min:
		return low
	case aggregate.Max:
		return high
	case aggregate.First:
		return vs[0]
	case aggregate.Last:
		return vs[len(vs)-1]
	case aggregate.Stddev:
		return math.Sqrt(squares / max(1, float64(len(vs)-1)))
	}
	return list
}

func equal(a, b any) bool {
	x, ok1 := a.(float64)
	y, ok2 := b.(float64)
	if ok1 && ok2 {
		return math.Abs(x-y) < 1e-9
	}
	return reflect.DeepEqual(a, b)
}

// TestModel adds values in any order, in parts that are merged and stored between.
func TestModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		vs := make([]float64, 1+r.IntN(20))
		for i := range vs {
			vs[i] = float64(r.IntN(1000)) / 10
		}
		order := r.Perm(len(vs))
		for _, k := range all {
			parts := make([]aggregate.Acc, 1+r.IntN(3))
			for _, i := range order {
				p := &parts[r.IntN(len(parts))]
				k.Add(p, int64(i), vs[i])
				rd := value.NewReader(k.Append(nil, p))
				if *p = k.Read(rd); rd.Err() != nil || rd.Len() != 0 {
					t.Fatalf("%s: %v, %d bytes are left", k, rd.Err(), rd.Len())
				}
			}
			for i := range parts[1:] {
				k.Merge(&parts[0], &parts[i+1])
			}
			if have := k.Result(&parts[0]); !equal(have, want(k, vs)) {
				t.Errorf("seed %d: %s of %v is %v, want %v", seed, k, vs, have, want(k, vs))
			}
		}
	}
}

func TestNoValues(t *testing.T) {
	for _, k := range all {
		var a aggregate.Acc
		if v := k.Result(&a); v != nil && k != aggregate.Count {
			t.Errorf("%s of nothing is %v", k, v)
		}
	}
}

func TestCheck(t *testing.T) {
	big := strings.Repeat("x", aggregate.MaxBytes+1)
	for _, c := range []struct {
		kind aggregate.Kind
		v    any
		ok   bool
	}{
		{aggregate.Sum, 1.0, true}, {aggregate.Sum, int64(1), true}, {aggregate.Sum, uint64(1), true}, {aggregate.Sum, "1", false},
		{aggregate.Sum, nil, false}, {aggregate.Stddev, math.NaN(), false}, {aggregate.First, nil, true}, {aggregate.First, big, false},
		{aggregate.Collect, big, false}, {aggregate.Last, struct{}{}, false}, {aggregate.Count, nil, true},
	} {
		if err := c.kind.Check(c.v); (err == nil) != c.ok {
			t.Errorf("%s of %.20v: %v", c.kind, c.v, err)
		}
	}
}

func TestCollectIsBounded(t *testing.T) {
	var a aggregate.Acc
	for i := range int64(5000) {
		aggregate.Collect.Add(&a, i, strings.Repeat("x", 100))
	}
	list := aggregate.Collect.Result(&a).([]any)
	if len(list) != aggregate.MaxBytes/102 {
		t.Errorf("%d values", len(list))
	}
	if !slices.Contains(all, aggregate.Collect) || aggregate.Collect.String() != "collect" {
		t.Error("collect has no name")
	}
}
