package program

import "runtime/debug"

// version is edgekit's version if the build gives it: cmd/release links with
// -X github.com/edgekit/edgekit/cmd/internal/program.version=v1.2.3.
var version string

// Version is edgekit's version that the program was built as, the one source of it: what
// the build gives (v1.2.3), else that of the module, else "devel" with the commit.
func Version() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return moduleVersion(info)
}

func moduleVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

// NodeVersion is what a node reports as its kubelet's version: the Kubernetes release that
// the node follows and edgekit's version, such as v1.37.2-edgekit-v0.1.0. kubernetes ends in
// "-edgekit".
func NodeVersion(kubernetes string) string { return kubernetes + "-" + Version() }
