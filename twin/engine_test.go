package twin_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/twin"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs an engine on the store until the test ends.
func run(tb testing.TB, store meta.Store) *twin.Engine {
	tb.Helper()
	engine, _ := runUntil(tb, store)
	return engine
}

// runUntil also gives a func that ends it.
func runUntil(tb testing.TB, store meta.Store) (*twin.Engine, func()) {
	tb.Helper()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := engine.Run(ctx); err != nil {
			tb.Errorf("Run: %v", err)
		}
	}()
	stop := func() { cancel(); <-ended }
	tb.Cleanup(stop)
	<-engine.Ready()
	return engine, stop
}
