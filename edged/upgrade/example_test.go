package upgrade_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/edged/upgrade"
)

// stick is a Fetcher of a program that needs no verification: real ones use artifact.Client.
type stick struct{}

func (stick) Fetch(_ context.Context, r upgrade.Request, to upgrade.Destination) (upgrade.Release, error) {
	release := upgrade.Release{Version: r.Version, Digest: "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", Size: 1, StoreFormat: 2}
	return release, os.WriteFile(filepath.Join(to.Dir, upgrade.Program), []byte("x"), 0o755)
}

// A program boots, downloads its successor and makes it the one of a trial. It then ends in order,
// and start.Restart() starts the trial.
func Example() {
	data, err := os.MkdirTemp("", "node-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(data)

	start := upgrade.Boot(upgrade.BootConfig{DataDir: data}) // the first thing in main
	u, err := upgrade.New(upgrade.Config{DataDir: data, Start: start, Release: upgrade.Release{Version: "v1.0.0", StoreFormat: 2}, Fetcher: stick{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background() // an example has no caller
	slot, err := u.Download(ctx, upgrade.Request{ID: "job-7", Source: "/media/usb/node.tar", Version: "v1.1.0"})
	if err == nil {
		err = u.Switch(ctx, slot, upgrade.Health{})
	}
	s := u.State()
	fmt.Println(err, s.Phase, s.ID, s.Candidate.Version, "in slot", slot)
	// Output: <nil> Trial job-7 v1.1.0 in slot a
}
