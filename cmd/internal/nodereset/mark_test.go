package nodereset

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// noFetcher fetches nothing, after the record says that a download has begun.
type noFetcher struct{}

func (noFetcher) Fetch(context.Context, upgrade.Request, upgrade.Destination) (upgrade.Release, error) {
	return upgrade.Release{}, errors.New("no network")
}

// TestMark: a folder is edgecore's if it has a file that only edgecore makes, each of them as the
// package that owns it makes it. Folders with the names of edgecore's are not enough.
func TestMark(t *testing.T) {
	for name, test := range map[string]struct {
		make func(dir string) error
		want bool
	}{
		"folders of another program": {func(dir string) error { return os.MkdirAll(filepath.Join(dir, "meta", "data"), 0o700) }, false},
		"another's files": {func(dir string) error {
			for _, file := range []string{"identity/identity.pem", "meta/data/FORMAT", "api/ca.pem", "slots/boot"} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
					return err
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte("my photographs"), 0o600); err != nil {
					return err
				}
			}
			return nil
		}, false},
		"a pipe": {func(dir string) error {
			if err := os.Mkdir(filepath.Join(dir, "slots"), 0o700); err != nil {
				return err
			}
			return os.Symlink("/dev/zero", filepath.Join(dir, "slots", "boot"))
		}, false},
		"the store": {func(dir string) error {
			s, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "meta"), KeyFile: filepath.Join(dir, "meta.key")})
			if err != nil {
				return err
			}
			return s.Close()
		}, true},
		"the API's authority": {func(dir string) error {
			_, err := apiserver.OpenAuthority(filepath.Join(dir, "api"))
			return err
		}, true},
		"the boot record": {func(dir string) error {
			u, err := upgrade.New(upgrade.Config{DataDir: dir, Release: upgrade.Release{Version: "v1"}, Fetcher: noFetcher{}})
			if err != nil {
				return err
			}
			_, err = u.Download(t.Context(), upgrade.Request{ID: "x", Source: "x"})
			if err != nil && strings.Contains(err.Error(), "no network") {
				return nil
			}
			return err
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := test.make(dir); err != nil {
				t.Fatal(err)
			}
			if got := isData(dir); got != test.want {
				t.Errorf("%v", got)
			}
			if _, err := New(t.Context(), Config{DataDir: dir}); (err == nil) != test.want {
				t.Errorf("a reset: %v", err)
			}
		})
	}
}
