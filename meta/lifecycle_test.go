package meta_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// runFunc is the Run of a type below meta.
type runFunc func(ctx context.Context) error

// runners makes a value of each type that has a Run. dir is where they keep files.
func runners(t *testing.T, dir string) map[string]func() (runFunc, error) {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	m, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := apiserver.OpenAuthority(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]func() (runFunc, error){
		"manager.Manager": func() (runFunc, error) {
			m, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
			return m.Run, err
		},
		"kube.Client": func() (runFunc, error) {
			c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
			return c.Run, err
		},
		"apiserver.Server": func() (runFunc, error) {
			s, err := apiserver.New(apiserver.Config{
				Store: store, Node: "gate-7", Authority: authority, Dir: filepath.Join(dir, "api"),
				Listen: netip.MustParseAddrPort("127.0.0.1:0"), Socket: filepath.Join(dir, "api.sock"),
			})
			return s.Run, err
		},
	}
}

// TestRunOnce holds every Run below meta to one lifecycle: New starts nothing and
// writes nothing; of two calls of Run one returns meta.ErrStarted, the other nil
// when its context ends; a call after that returns ErrStarted too.
func TestRunOnce(t *testing.T) {
	dir := t.TempDir()
	for name, build := range runners(t, dir) {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			run, err := build()
			if err != nil {
				t.Fatal(err)
			}
			if n := runtime.NumGoroutine(); n > before {
				t.Errorf("New has started %d goroutines", n-before)
			}
			if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
				t.Errorf("New has written %v, %v", files, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 2)
			for range 2 { // either may be the second, which is refused
				go func() { ended <- run(ctx) }()
			}
			if err := <-ended; !errors.Is(err, meta.ErrStarted) {
				t.Errorf("the second Run returns %v, want ErrStarted", err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the first Run returns %v when its context ends, want nil", err)
			}
			if err := run(t.Context()); !errors.Is(err, meta.ErrStarted) {
				t.Errorf("a Run after the end returns %v, want ErrStarted", err)
			}
			hubtest.RunEnds(t, 20*time.Millisecond, func() (func(context.Context) error, error) { return build() })
			if err := os.RemoveAll(filepath.Join(dir, "api")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, "api.sock")); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestAuthorityIsKept reads the authority again that an earlier start has made, and
// refuses a server that would make another at each start.
func TestAuthorityIsKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "api")
	first, err1 := apiserver.OpenAuthority(dir)
	unfinished := filepath.Join(dir, ".new-123") // by a start that the power cut
	if err := os.WriteFile(unfinished, []byte("key"), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err2 := apiserver.OpenAuthority(dir)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if string(first.CertPEM()) != string(again.CertPEM()) {
		t.Error("a second start made another authority")
	}
	if _, err := os.Stat(unfinished); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an unfinished file is left: %v", err)
	}
	if _, err := apiserver.OpenAuthority("api"); err == nil {
		t.Error("a relative folder was taken")
	}
	if _, err := apiserver.New(apiserver.Config{Store: memstore.New(), Node: "gate-7", Dir: dir}); err == nil {
		t.Error("a folder without an authority was taken")
	}
}
