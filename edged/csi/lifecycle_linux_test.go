package csi_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/csi/csitest"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// TestRunOnce holds both Run to the rules of edged: see edged.TestRunOnce.
func TestRunOnce(t *testing.T) {
	root := t.TempDir()
	registry, err1 := csi.New(csi.Config{Folder: root + "/registry"})
	driver, err2 := csitest.New(csitest.Config{Name: driverName, Node: "n", Folder: root + "/driver", Registry: root + "/registry"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"csi.Registry": registry.Run, "csitest.Driver": driver.Run} {
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
