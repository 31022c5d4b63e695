package cri

import (
	"context"
	"encoding/json"
	"errors"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// errNoCDI is the error for a container with CDI devices on a runtime that would leave
// them out without a word.
var errNoCDI = errors.New("the container runtime does not look up CDI devices, which a device plugin or the driver of a resource claim asks for: set enable_cdi = true in the CRI plugin of containerd's configuration, or use containerd 2 or CRI-O")

// checkCDI asks the runtime whether it looks up CDI devices. It is asked only before a
// container that has some.
func (c *Client) checkCDI(ctx context.Context) error {
	v, err := c.Version(ctx)
	if err != nil {
		return err
	}
	r, err := c.run.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return failed("status", err)
	}
	if !looksUpCDI(v, r.GetInfo()) {
		return errNoCDI
	}
	return nil
}

// looksUpCDI reports whether a runtime looks up CDI devices, by its version and verbose
// status: containerd says it in its configuration from 1.7 on. Others are taken to.
func looksUpCDI(v runtime.Version, info map[string]string) bool {
	var cfg struct {
		EnableCDI *bool `json:"enableCDI"`
	}
	if text := info["config"]; text != "" && len(text) <= maxInfo && json.Unmarshal([]byte(text), &cfg) == nil && cfg.EnableCDI != nil {
		return *cfg.EnableCDI
	}
	return v.Name != "containerd" || atLeast(v.Version, 1, 7)
}
