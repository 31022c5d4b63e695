package cri

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The two ways in which a runtime makes cgroups. With the wrong one no pod
// starts (DriverCgroupfs on a runtime that has systemd make them), or pods have
// no limits as a whole (the other way round).
const (
	DriverSystemd  = "systemd"
	DriverCgroupfs = "cgroupfs"
)

// systemdSign is there when systemd is the machine's first process, see
// sd_booted(3).
const systemdSign = "/run/systemd/system"

// maxInfo is the size in bytes of the largest configuration of a runtime that
// is decoded. That of containerd has a few thousand.
const maxInfo = 1 << 20

// sliceComplaint is what runc says to the path of a cgroupfs group when it has
// systemd make its cgroups.
const sliceComplaint = `expected cgroupsPath to be of format "slice:prefix:name"`

// CgroupDriver finds out how the runtime makes cgroups. Config.CgroupDriver comes
// first; then what the runtime says (RuntimeConfig, KEP-4033, in containerd since
// 2.0); then the configuration that containerd 1.x shows in its status. If nothing
// says it, systemd is assumed where systemd runs the machine: pods start with that
// also where it is wrong.
func (c *Client) CgroupDriver(ctx context.Context) (string, error) {
	if c.cfg.CgroupDriver != "" {
		return c.cfg.CgroupDriver, nil
	}
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.RuntimeConfig(ctx, &runtimeapi.RuntimeConfigRequest{})
	if err != nil && status.Code(err) != codes.Unimplemented {
		return "", failed("runtime config", err)
	}
	if linux := r.GetLinux(); err == nil && linux != nil {
		if linux.CgroupDriver == runtimeapi.CgroupDriver_SYSTEMD {
			return c.found(DriverSystemd, "RuntimeConfig"), nil
		}
		return c.found(DriverCgroupfs, "RuntimeConfig"), nil
	}
	st, err := c.run.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return "", failed("status", err)
	}
	if driver := driverOf(st.GetInfo()); driver != "" {
		return c.found(driver, "its configuration"), nil
	}
	driver := DriverCgroupfs
	if _, err := os.Stat(systemdSign); err == nil {
		driver = DriverSystemd
	}
	c.cfg.Logger.Warn("the runtime does not say how it makes cgroups: if it is not as assumed here, run edgecore with --cgroup-driver systemd or cgroupfs (SDK: cri.Config.CgroupDriver), as in the runtime's configuration", "assumed", driver)
	return driver, nil
}

// found logs where the driver comes from, and returns it.
func (c *Client) found(driver, from string) string {
	c.cfg.Logger.Debug("the runtime's cgroup driver is known", "driver", driver, "from", from)
	return driver
}

// containerdInfo is what is read of the configuration that containerd 1.x shows
// in the verbose status, under "config".
type containerdInfo struct {
	SystemdCgroup bool `json:"systemdCgroup"` // of the runtime type io.containerd.runtime.v1.linux
	Containerd    struct {
		DefaultRuntimeName string `json:"defaultRuntimeName"`
		Runtimes           map[string]struct {
			Type    string `json:"runtimeType"`
			Options struct {
				SystemdCgroup *bool `json:"SystemdCgroup"`
			} `json:"options"`
		} `json:"runtimes"`
	} `json:"containerd"`
}

// driverOf reads the cgroup driver of the default runtime out of a verbose
// status; "" means that it does not say. All pods get one kind of parent, so
// that the other runtimes must have the same.
func driverOf(info map[string]string) string {
	text := info["config"]
	if text == "" || len(text) > maxInfo {
		return ""
	}
	var cfg containerdInfo
	if err := json.Unmarshal([]byte(text), &cfg); err != nil {
		return ""
	}
	name := cfg.Containerd.DefaultRuntimeName
	if name == "" {
		name = "runc" // containerd's own default
	}
	runtime, ok := cfg.Containerd.Runtimes[name]
	if !ok {
		return ""
	}
	systemd := runtime.Options.SystemdCgroup
	switch {
	case systemd != nil:
	case runtime.Type == "io.containerd.runtime.v1.linux":
		systemd = &cfg.SystemdCgroup
	case strings.HasPrefix(runtime.Type, "io.containerd.runc."):
		systemd = new(bool) // options that are not given are off
	default:
		return "" // a runtime with options of its own
	}
	if *systemd {
		return DriverSystemd
	}
	return DriverCgroupfs
}

// withRemedy adds what to do to the runtime's error about a pod's cgroup.
func withRemedy(err error) error {
	var call *callError
	if errors.As(err, &call) && strings.Contains(call.text, sliceComplaint) {
		call.text += "; the runtime has systemd make its cgroups: run edgecore with --cgroup-driver systemd (SDK: cri.Config.CgroupDriver)"
	}
	return err
}
