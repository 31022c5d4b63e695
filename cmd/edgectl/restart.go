package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// restartCmd restarts containers of pods.
type restartCmd struct {
	localFlags
	Pods      []string `arg:"" name:"pod" help:"Names of the pods."`
	Container []string `help:"Only this container; may be repeated. Default: all that run." short:"c" placeholder:"NAME"`
}

// Run restarts them, with or without the cloud.
func (c *restartCmd) Run(ctx context.Context, out program.Output) error {
	body, err := json.Marshal(c.Pods)
	if err != nil {
		return err
	}
	path := "/api/v1/namespaces/" + url.PathEscape(c.Space) + "/pods/restart"
	if len(c.Container) > 0 {
		path += "?" + url.Values{"container": c.Container}.Encode()
	}
	answer, err := c.post(ctx, "api.sock", path, string(body))
	if err != nil {
		return err
	}
	defer answer.Close()
	var done struct{ ErrMessages, LogMessages []string }
	if err := json.NewDecoder(answer).Decode(&done); err != nil {
		return err
	}
	for _, line := range done.LogMessages {
		fmt.Fprintln(program.Plain(out), line)
	}
	if len(done.ErrMessages) > 0 {
		return errors.New(strings.Join(done.ErrMessages, "; "))
	}
	return nil
}

// deviceEdit sets desired values of a device at the machine.
type deviceEdit struct {
	localFlags
	Name   string   `arg:"" help:"The device."`
	Values []string `arg:"" name:"property=value" help:"What is desired, for example target=45."`
}

// Run sets the values in the twin on this node, with or without the cloud. The Device in the
// cloud stays as it is, and what it says counts again when somebody changes it there.
func (d *deviceEdit) Run(ctx context.Context, out program.Output) error {
	desired, err := parseValues(d.Values)
	if err != nil {
		return err
	}
	device := v1beta1.Device{}
	device.APIVersion, device.Kind, device.Name, device.Namespace = v1beta1.GroupVersion().String(), "Device", d.Name, d.Space
	device.Spec.Properties = append([]schema.Property{}, desired...)
	body, err := json.Marshal(device)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://node"+objectsPath(devicesBase(), "devices", d.Space, d.Name, false), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := d.do("api.sock", req)
	if err != nil {
		return err
	}
	defer answer.Close()
	if _, err := io.Copy(io.Discard, answer); err != nil {
		return err
	}
	for _, p := range desired {
		fmt.Fprintf(program.Plain(out), "device %s/%s: %s=%s is desired on this node\n", d.Space, d.Name, p.Name, p.Desired.Value)
	}
	return nil
}
