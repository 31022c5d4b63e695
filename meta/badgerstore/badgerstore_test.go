package badgerstore_test

import (
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/metatest"
)

// TestMain runs the tests, or is the child process that some of them need.
func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		child(job)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
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
