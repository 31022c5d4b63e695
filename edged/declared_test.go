package edged_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/component-helpers/nodedeclaredfeatures/features"

	"github.com/edgekit/edgekit/edged"
)

// undeclared says why the node does not declare a feature that Kubernetes knows. The gates
// that are off are off in a stock kubelet 1.37 too.
var undeclared = map[string]string{
	"ExtendWebSocketsToKubelet":                    "the API server turns WebSocket into SPDY, which the way to the node carries",
	"InPlacePodVerticalScalingMemoryBackedVolumes": "alpha, off",
	"UserNamespacesHostNetworkSupport":             "alpha, off",
	"DRANodeAllocatableResources":                  "alpha, off",
	"VolumeBindMountOptions":                       "alpha, off",
	"DRAOptionalNodeOperations":                    "alpha, off",
}

// TestDeclaredFeatures: each feature that Kubernetes lets nodes declare is declared, or
// there is a reason; and none is declared that Kubernetes does not know.
func TestDeclaredFeatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		settle(time.Second)
		b.stop()
		declared := b.node.Status.DeclaredFeatures
		var known []string
		for _, f := range features.AllFeatures {
			known = append(known, f.Name())
			if _, reason := undeclared[f.Name()]; reason == slices.Contains(declared, f.Name()) {
				t.Errorf("%s: declared %t, with a reason not to be %t", f.Name(), !reason, reason)
			}
		}
		for _, name := range declared {
			if !slices.Contains(known, name) {
				t.Errorf("%s is no feature of Kubernetes", name)
			}
		}
		if !slices.IsSorted(declared) {
			t.Errorf("%q is not sorted", declared)
		}
		b.edit = func(cfg *edged.Config) { cfg.PodCgroups = edged.Off }
		b.start()
		settle(time.Minute)
		b.stop()
		if left := b.node.Status.DeclaredFeatures; slices.ContainsFunc(left, func(f string) bool { return strings.Contains(f, "Resize") || strings.Contains(f, "VerticalScaling") }) {
			t.Errorf("without cgroups of pods: %q", left)
		}
	})
}
