package program

import (
	"runtime/debug"
	"testing"

	semver "k8s.io/apimachinery/pkg/util/version"
)

// TestVersionOfBuildInfo: a plain go build and go install have a version too.
func TestVersionOfBuildInfo(t *testing.T) {
	revision := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123"}}
	for want, info := range map[string]debug.BuildInfo{
		"v0.3.1":             {Main: debug.Module{Version: "v0.3.1"}},
		"devel-0123456789ab": {Main: debug.Module{Version: "(devel)"}, Settings: revision},
		"devel":              {},
	} {
		if got := moduleVersion(&info); got != want {
			t.Errorf("%+v: %s, want %s", info, got, want)
		}
	}
}

// TestNodeVersion: Kubernetes parses what a node reports.
func TestNodeVersion(t *testing.T) {
	for _, own := range []string{Version(), "v0.1.0", "v0.1.0-rc.1", "v0.0.0-20261130064219-538688b8c041+dirty"} {
		reported := "v1.37.2-edgekit-" + own
		v, err := semver.ParseSemantic(reported)
		if err != nil || v.Minor() != 37 {
			t.Errorf("%s: %v %v", reported, v, err)
		}
	}
	if got := NodeVersion("v1.37.2-edgekit"); got != "v1.37.2-edgekit-"+Version() {
		t.Error(got)
	}
}
