package alertstest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
)

// module is where Prometheus comes from.
const module = "github.com/prometheus/prometheus"

// Tags leave out the ways to discover targets that the tests do not use: the SDKs of two dozen clouds.
const Tags = "remove_all_sd,enable_kubernetes_sd"

// Names are the programs that the tests use.
func Names() []string { return []string{"promtool", "prometheus"} }

// Target says how to build a program. folder is this module's.
func Target(folder, name string) (gobuild.Target, error) {
	version, err := gobuild.Version(folder, module)
	if err != nil {
		return gobuild.Target{}, fmt.Errorf("alertstest: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return gobuild.Target{}, fmt.Errorf("alertstest: %w", err)
	}
	return gobuild.Target{
		Module: folder, Package: module + "/cmd/" + name, Tags: Tags,
		Output: filepath.Join(cache, "edgekit", "bin", "prometheus-"+version, name),
	}, nil
}

// Program finds a program that was built, or skips the test. folder is this module's.
func Program(t *testing.T, folder, name string) string {
	t.Helper()
	target, err := Target(folder, name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(target.Output); errors.Is(err, fs.ErrNotExist) {
		t.Skipf("%s is not built: 'make monitoring' builds it, which takes minutes the first time", name)
	} else if err != nil {
		t.Fatal(err)
	}
	return target.Output
}
