package main

import (
	"context"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/edgekit/edgekit/edged/deviceplugin/deviceplugintest"
	"github.com/edgekit/edgekit/edged/dra/dratest"
)

// devicePlugin has the devices in DEVICES of the resource in RESOURCE. A container that gets
// some has a device node, a variable and a folder of the machine (FOLDER).
func devicePlugin(ctx context.Context, a *app) error {
	folder := os.Getenv("FOLDER")
	p, err := deviceplugintest.New(deviceplugintest.Config{
		Resource: os.Getenv("RESOURCE"), Dir: "/var/lib/kubelet/device-plugins", Devices: strings.Fields(os.Getenv("DEVICES")), PreStart: true,
		Answer: func(ids []string) *api.ContainerAllocateResponse {
			return &api.ContainerAllocateResponse{
				Envs:    map[string]string{"WIDGET": strings.Join(ids, ",")},
				Devices: []*api.DeviceSpec{{ContainerPath: "/dev/widget", HostPath: "/dev/null", Permissions: "rw"}},
				Mounts:  []*api.Mount{{ContainerPath: "/widget", HostPath: folder, ReadOnly: true}},
			}
		},
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return p.Run(ctx) })
	g.Go(func() error {
		return every(ctx, time.Second, func() { a.set("calls", p.Calls()) })
	})
	return g.Wait()
}

// draDriver prepares the claims of the driver named DRIVER: a container that has a claim gets
// the variable DRA_CLAIM from a CDI file.
func draDriver(ctx context.Context, a *app) error {
	name := os.Getenv("DRIVER")
	d, err := dratest.New(dratest.Config{
		Name: name, Folder: "/var/lib/kubelet/plugins/" + name, Registry: "/var/lib/kubelet/plugins_registry", CDI: "/var/run/cdi",
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.Run(ctx) })
	g.Go(func() error {
		return every(ctx, time.Second, func() { a.set("prepared", d.Prepared()) })
	})
	return g.Wait()
}

// claimUser says which claims its container has: Kubernetes' DRA test driver sets a variable for each.
func claimUser(ctx context.Context, a *app) error {
	var claims []string
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "claim_") {
			claims = append(claims, v)
		}
	}
	a.set("claims", claims)
	<-ctx.Done()
	return nil
}
