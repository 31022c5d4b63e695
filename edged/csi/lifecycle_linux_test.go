package csi_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/csi/csitest"
	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
)

// TestRunOnce holds both Run to the rules of edged: see lifecycletest.
func TestRunOnce(t *testing.T) {
	root := t.TempDir()
	registry, err1 := csi.New(csi.Config{Folder: root + "/registry"})
	driver, err2 := csitest.New(csitest.Config{Name: driverName, Node: "n", Folder: root + "/driver", Registry: root + "/registry"})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"csi.Registry": registry.Run, "csitest.Driver": driver.Run} {
		t.Run(name, func(t *testing.T) { lifecycletest.RunOnce(t, run) })
	}
}
