package badgerstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/internal/disktest"
	"github.com/edgekit/edgekit/meta/metatest"
)

// TestMain runs the tests, or is the child process that some of them need.
func TestMain(m *testing.M) {
	if disktest.Serve() {
		return
	}
	if job := os.Getenv(childJob); job != "" {
		child(job)
		return
	}
	goleak.VerifyTestMain(m)
}

// openAs opens a store that the test closes.
func openAs(t testing.TB, cfg badgerstore.Config) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func open(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s := openAs(t, badgerstore.Config{Dir: dir})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	metatest.Run(t, func(t *testing.T) meta.Store { return open(t, t.TempDir()) })
}

func TestDurableStore(t *testing.T) {
	metatest.RunDurable(t, func(t *testing.T) string { return t.TempDir() },
		func(t *testing.T, dir string) meta.Store { return open(t, dir) })
}

func TestEncryptedStore(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("the suite has run already, without a key")
	}
	metatest.Run(t, func(t *testing.T) meta.Store {
		s, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir(), KeyFile: filepath.Join(t.TempDir(), "key")})
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
