package podcgroups_test

import (
	"testing"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/podcgroups"
)

// TestGroups: pods are limited where that is wanted and the runtime has groups for them, and not
// before it has answered.
func TestGroups(t *testing.T) {
	groups := cgroup.New(cgroup.Config{Mount: t.TempDir()})
	for _, tt := range []struct{ wanted, own, limits bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
		g := podcgroups.New(tt.wanted)
		if g.LimitPods() || g.Load() != nil || g.Top() != "" || g.EmptyPods() != nil {
			t.Errorf("%+v: something is known before the runtime has answered", tt)
		}
		g.Set(groups, tt.own)
		if g.LimitPods() != tt.limits || g.Load() != groups || g.Top() == "" {
			t.Errorf("%+v: %t, %q", tt, g.LimitPods(), g.Top())
		}
	}
}
