package codec

import (
	"fmt"
	"testing"
)

// TestCosts compares what maps are reckoned to cost with what they do.
func TestCosts(t *testing.T) {
	for _, n := range []int{1, 8, 9, 14, 15, 28, 29, 100, 1000, 5000, 100_000} {
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint(i)
		}
		var kept any
		grown := allocated(func() {
			m := make(map[string]any)
			for _, k := range names {
				m[k] = nil
			}
			kept = m
		})
		reckoned := costMap
		for i := range n {
			reckoned += entryCost(i)
		}
		sized := allocated(func() {
			m := make(map[string]any, n)
			for _, k := range names {
				m[k] = nil
			}
			kept = m
		})
		_ = kept
		if float64(reckoned) < 0.9*float64(grown) || reckoned > 3*grown {
			t.Errorf("%d entries: reckoned %d, taken %d", n, reckoned, grown)
		}
		if have := mapCost(n); float64(have) < 0.9*float64(sized) || have > 3*sized {
			t.Errorf("%d entries in a map of that size: reckoned %d, taken %d", n, have, sized)
		}
	}
}
