package dra_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
)

// TestRunOnce holds both Run to the rules of edged: see lifecycletest.
func TestRunOnce(t *testing.T) {
	m := newMachine(t)
	manager, err1 := dra.New(dra.Config{Store: m.store, Claims: m})
	driver, err2 := dratest.New(dratest.Config{Name: driverName, Folder: m.root + "/driver", Registry: m.root + "/registry"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"dra.Manager": manager.Run, "dratest.Driver": driver.Run} {
		t.Run(name, func(t *testing.T) { lifecycletest.RunOnce(t, run) })
	}
}
