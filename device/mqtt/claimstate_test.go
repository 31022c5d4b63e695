package mqtt

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
)

// TestClaimState follows whether a mapper, whose instance is me, drives its devices.
func TestClaimState(t *testing.T) {
	begin := time.Unix(0, 0)
	answer := func(holder string, waiting ...string) func(*claim, time.Time) {
		return func(c *claim, now time.Time) {
			c.answer(now, topics.ClaimResultMessage{Holder: holder, Waiting: waiting})
		}
	}
	list := func(c *claim, now time.Time) { c.noteList(now) }
	check := func(c *claim, now time.Time) { c.check(now) }
	type step struct {
		at   time.Duration
		do   func(*claim, time.Time)
		want claimState
	}
	for name, steps := range map[string][]step{
		"edgecore is not there": {{0, check, undecided}, {time.Hour, check, undecided}},
		"edgecore of an earlier version": {
			{0, list, undecided}, {9 * time.Second, check, undecided}, {9 * time.Second, list, undecided}, {10 * time.Second, check, drives},
			{time.Hour, check, drives},
		},
		"edgecore is away, nobody waits": {{0, answer("me"), drives}, {time.Hour, check, drives}},
		"edgecore is away, another one waits": {
			{0, answer("me", "b"), drives}, {29 * time.Second, check, drives}, {30 * time.Second, check, waits}, {time.Minute, answer("me", "b"), drives},
		},
		"another one has them": {
			{0, answer("b", "me"), waits}, {time.Hour, check, waits}, {time.Hour, list, waits}, {time.Hour + 29*time.Second, check, waits},
			{time.Hour + 30*time.Second, check, drives}, {time.Hour + 31*time.Second, answer("b"), waits}, {2 * time.Hour, answer("me"), drives},
		},
		"nobody is known to have them": {{0, answer("me"), drives}, {time.Second, answer(""), drives}, {2 * time.Second, answer("b"), waits}, {3 * time.Second, answer(""), waits}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &claim{topic: "t", instance: "me"}
			for i, s := range steps {
				if s.do(c, begin.Add(s.at)); c.state != s.want {
					t.Fatalf("after step %d the state is %d, want %d", i, c.state, s.want)
				}
			}
		})
	}
}
