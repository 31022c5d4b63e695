package hub

import (
	"slices"
	"testing"
	"time"
)

func TestRaceOrder(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		winner remembered
		want   []int
	}{
		"nobody yet":   {remembered{}, []int{0, 1, 2}},
		"the last":     {remembered{2, now.Add(1)}, []int{2, 0, 1}},
		"the second":   {remembered{1, now.Add(1)}, []int{1, 0, 2}},
		"too long ago": {remembered{1, now}, []int{0, 1, 2}},
	} {
		if got := tt.winner.order(now, 3); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestRaceWon(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		before remembered
		lane   int
		want   remembered
	}{
		"the best":            {remembered{}, 0, remembered{}},
		"the best, after all": {remembered{1, now.Add(1)}, 0, remembered{}},
		"another":             {remembered{}, 1, remembered{1, now.Add(time.Hour)}},
		"the same, in time":   {remembered{1, now.Add(1)}, 1, remembered{1, now.Add(1)}},
		"the same, later":     {remembered{1, now}, 1, remembered{1, now.Add(time.Hour)}},
		"another than before": {remembered{1, now.Add(1)}, 2, remembered{2, now.Add(time.Hour)}},
	} {
		if got := tt.before.won(tt.lane, now, time.Hour); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
