package memstore_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/meta/metatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	metatest.Run(t, func(*testing.T) meta.Store { return memstore.New() })
}
