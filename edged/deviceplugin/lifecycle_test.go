package deviceplugin_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/edged/deviceplugin"
	"github.com/edgekit/edgekit/edged/deviceplugin/deviceplugintest"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
)

// TestRunOnce holds both Run to the rules of edged: see edged.TestRunOnce.
func TestRunOnce(t *testing.T) {
	dir := t.TempDir()
	m, err1 := devices.New(devices.Config{})
	server, err2 := deviceplugin.New(deviceplugin.Config{Dir: dir, Devices: m})
	plugin, err3 := deviceplugintest.New(deviceplugintest.Config{Resource: widget, Dir: dir})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for name, run := range map[string]func(context.Context) error{"deviceplugin.Server": server.Run, "deviceplugintest.Plugin": plugin.Run} {
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
