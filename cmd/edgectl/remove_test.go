package main

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

func TestRemoveReport(t *testing.T) {
	for name, tt := range map[string]struct {
		done nodelifecycle.Removed
		key  nodeidentity.Claimed
		want []string
	}{
		"a node":       {nodelifecycle.Removed{Pods: []string{"a/b"}}, nodeidentity.Claimed{KeyHash: "4711"}, []string{"1 pods ended", "revoked (key 4711)", "edgecore join --replace"}},
		"no machine":   {nodelifecycle.Removed{}, nodeidentity.Claimed{}, []string{"no machine had the name", "node revoke --key"}},
		"no cloudcore": {nodelifecycle.Removed{Connected: true}, nodeidentity.Claimed{KeyHash: "4711"}, []string{"the one that starts next refuses"}},
	} {
		text := (&nodeRemove{Name: "edge-1"}).report(tt.done, tt.key)
		for _, want := range append(tt.want, "node edge-1 is taken out", "systemctl disable --now edgecore") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %s", name, want, text)
			}
		}
	}
}
