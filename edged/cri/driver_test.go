package cri

import (
	"strings"
	"testing"
)

const containerd16 = `{"containerd":{"snapshotter":"overlayfs","defaultRuntimeName":"runc","runtimes":{
 "runc":{"runtimeType":"io.containerd.runc.v2","options":{"BinaryName":"","SystemdCgroup":true}},
 "kata":{"runtimeType":"io.containerd.kata.v2","options":null}}},"systemdCgroup":false}`

func TestDriverOf(t *testing.T) {
	for name, tt := range map[string]struct{ config, want string }{
		"systemd":                       {containerd16, DriverSystemd},
		"cgroupfs":                      {strings.Replace(containerd16, "true", "false", 1), DriverCgroupfs},
		"options that are not given":    {`{"containerd":{"runtimes":{"runc":{"runtimeType":"io.containerd.runc.v2","options":null}}}}`, DriverCgroupfs},
		"the default is another":        {strings.Replace(containerd16, `Name":"runc`, `Name":"kata`, 1), ""},
		"the default is not there":      {strings.Replace(containerd16, `Name":"runc`, `Name":"none`, 1), ""},
		"the first kind of runtime":     {`{"systemdCgroup":true,"containerd":{"runtimes":{"runc":{"runtimeType":"io.containerd.runtime.v1.linux"}}}}`, DriverSystemd},
		"another runtime's information": {`{"sandboxImage":"pause:3"}`, ""},
		"no JSON":                       {`systemd_cgroup = true`, ""},
		"nothing":                       {"", ""},
		"too large":                     {strings.Repeat(" ", maxInfo) + containerd16, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := driverOf(map[string]string{"config": tt.config}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if got := driverOf(nil); got != "" {
		t.Errorf("no information: %q", got)
	}
}

func FuzzDriverOf(f *testing.F) {
	f.Add(containerd16)
	f.Add(`{"containerd":{"runtimes":{"runc":{"options":{"SystemdCgroup":1}}}}}`)
	f.Add(`{"containerd":{"runtimes":null}}`)
	f.Fuzz(func(t *testing.T, config string) {
		switch got := driverOf(map[string]string{"config": config}); got {
		case "", DriverSystemd, DriverCgroupfs:
		default:
			t.Errorf("%q", got)
		}
	})
}
