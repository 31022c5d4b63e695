package inprocess_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a twin engine until the test ends.
func start(t *testing.T) edgetest.Edge {
	t.Helper()
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		t.Fatal(err)
	}
	edgetest.Run(t, engine.Run)
	return edgetest.Edge{Engine: engine}
}

func TestLink(t *testing.T) {
	devicetest.RunLink(t, func(t *testing.T) (device.Link, devicetest.Edge) {
		e := start(t)
		link, err := inprocess.New(inprocess.Config{Engine: e.Engine})
		if err != nil {
			t.Fatal(err)
		}
		return link, e
	})
}
