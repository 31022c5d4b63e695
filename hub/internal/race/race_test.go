package race

import (
	"slices"
	"testing"
	"time"
)

func TestRaceOrder(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		winner Winner
		want   []int
	}{
		"nobody yet":   {Winner{}, []int{0, 1, 2}},
		"the last":     {Winner{2, now.Add(1)}, []int{2, 0, 1}},
		"the second":   {Winner{1, now.Add(1)}, []int{1, 0, 2}},
		"too long ago": {Winner{1, now}, []int{0, 1, 2}},
	} {
		if got := tt.winner.Order(now, 3); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

func TestRaceWon(t *testing.T) {
	now := time.Unix(1000, 0)
	for name, tt := range map[string]struct {
		before Winner
		lane   int
		want   Winner
	}{
		"the best":            {Winner{}, 0, Winner{}},
		"the best, after all": {Winner{1, now.Add(1)}, 0, Winner{}},
		"another":             {Winner{}, 1, Winner{1, now.Add(time.Hour)}},
		"the same, in time":   {Winner{1, now.Add(1)}, 1, Winner{1, now.Add(1)}},
		"the same, later":     {Winner{1, now}, 1, Winner{1, now.Add(time.Hour)}},
		"another than before": {Winner{1, now.Add(1)}, 2, Winner{2, now.Add(time.Hour)}},
	} {
		if got := tt.before.Won(tt.lane, now, time.Hour); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
	}
}
