package main

import (
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

func TestRetireReport(t *testing.T) {
	for name, tt := range map[string]struct {
		done nodelifecycle.Retired
		key  nodeidentity.Claimed
		want []string
	}{
		"a node":       {nodelifecycle.Retired{Evicted: []string{"a/b"}, Removed: nodelifecycle.Removed{Pods: []string{"a/c"}}}, nodeidentity.Claimed{KeyHash: "4711"}, []string{"1 pods evicted, 1 ended", "revoked (key 4711)", "edgecore join --replace"}},
		"no machine":   {nodelifecycle.Retired{}, nodeidentity.Claimed{}, []string{"no machine had the name", "node revoke --key"}},
		"no cloudcore": {nodelifecycle.Retired{Removed: nodelifecycle.Removed{Connected: true}}, nodeidentity.Claimed{KeyHash: "4711"}, []string{"the one that starts next refuses"}},
	} {
		text := (&nodeRetire{Name: "edge-1"}).report(tt.done, tt.key)
		for _, want := range append(tt.want, "node edge-1 is retired", "systemctl disable --now edgecore") {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is not in %s", name, want, text)
			}
		}
	}
}

func TestCertificatesOf(t *testing.T) {
	now := time.Now()
	nodes := []nodeidentity.Claimed{
		{Node: "a", KeyHash: "1", Issuer: "p", Until: now.Add(2 * time.Hour)}, {Node: "b", KeyHash: "2", Issuer: "p", Until: now.Add(time.Hour)},
		{Node: "c", KeyHash: "3", Issuer: "p", Until: now, Revoked: now}, {Node: "d", Issuer: "p", Until: now}, {Node: "e", KeyHash: "5", Issuer: "q", Until: now},
	}
	if count, first := certificatesOf(nodes, "p"); count != 2 || !first.Equal(now.Add(time.Hour)) {
		t.Errorf("%d, %s", count, first)
	}
	if count, first := certificatesOf(nodes, "r"); count != 0 || !first.IsZero() {
		t.Errorf("%d, %s", count, first)
	}
}
