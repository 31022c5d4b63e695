package main

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestDevicePluginFlags(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	for _, tt := range []struct{ dir, socket, setting string }{
		{"", "", ""}, {dir, filepath.Join(dir, "s"), ""}, {"plugins", "", "device-plugin-dir"}, {"", "kubelet.sock", "pod-resources-socket"},
	} {
		f := devicePluginFlags{DevicePluginDir: tt.dir, PodResourcesSocket: tt.socket}
		manager, server, err := f.devicePlugins(&node{}, log)
		granted, err2 := f.podResources(nil, manager, log)
		var usage *program.UsageError
		if err := errors.Join(err, err2); tt.setting == "" && err != nil || tt.setting != "" && (!errors.As(err, &usage) || usage.Setting != tt.setting) {
			t.Errorf("%+v: %v", tt, err)
			continue
		}
		if tt.setting == "" && ((server != nil) != (tt.dir != "") || (granted != nil) != (tt.socket != "")) {
			t.Errorf("%+v: %v, %v", tt, server, granted)
		}
	}
}
