package deviceplugin_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/deviceplugin/deviceplugintest"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/lifecycle/lifecycletest"
)

// TestRunOnce holds both Run to the rules of edged: see lifecycletest.
func TestRunOnce(t *testing.T) {
	dir := t.TempDir()
	m, err1 := devices.New(devices.Config{})
	server, err2 := deviceplugin.New(deviceplugin.Config{Dir: dir, Devices: m})
	plugin, err3 := deviceplugintest.New(deviceplugintest.Config{Resource: widget, Dir: dir})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"deviceplugin.Server": server.Run, "deviceplugintest.Plugin": plugin.Run} {
		t.Run(name, func(t *testing.T) { lifecycletest.RunOnce(t, run) })
	}
}
