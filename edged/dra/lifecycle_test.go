package dra_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// TestRunOnce holds both Run to the rules of edged: see edged.TestRunOnce.
func TestRunOnce(t *testing.T) {
	m := newMachine(t)
	manager, err1 := dra.New(dra.Config{Store: m.store, Claims: m})
	driver, err2 := dratest.New(dratest.Config{Name: driverName, Folder: m.root + "/driver", Registry: m.root + "/registry"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"dra.Manager": manager.Run, "dratest.Driver": driver.Run} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 2)
			for range 2 {
				go func() { ended <- run(ctx) }()
			}
			if err := <-ended; !errors.Is(err, lifecycle.ErrStarted) {
				t.Errorf("the second Run returns %v, want ErrStarted", err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("the first Run returns %v when its context ends, want nil", err)
			}
			if err := run(t.Context()); !errors.Is(err, lifecycle.ErrStarted) {
				t.Errorf("a Run after the end returns %v, want ErrStarted", err)
			}
		})
	}
}
