package badgerstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/metatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string) meta.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Logger: nil})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	metatest.Run(t, func(t *testing.T) meta.Store { return open(t, t.TempDir()) })
}

func TestDurableStore(t *testing.T) {
	metatest.RunDurable(t, func(t *testing.T) string { return t.TempDir() }, open)
}
