package dmi

import (
	"context"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"github.com/edgekit/edgekit/device/dmi/v1beta1"
)

// calls is a connection that notes the methods that are called.
type calls struct {
	grpc.ClientConnInterface
	made []string
}

func (c *calls) Invoke(_ context.Context, method string, _, _ any, _ ...grpc.CallOption) error {
	c.made = append(c.made, method)
	return nil
}

// TestModelOfNextDevice removes the last device of a model while another device of that model
// comes: the mapper keeps the model, which it is not given a second time.
func TestModelOfNextDevice(t *testing.T) {
	const remove = "/" + v1beta1.DeviceMapperService + "/RemoveDeviceModel"
	for name, c := range map[string]struct {
		change  func(*mapper)
		removed bool
	}{
		"no other device":       {func(*mapper) {}, true},
		"another was given":     {func(p *mapper) { p.given["plant/b"] = &given{model: "plant/boiler"} }, false},
		"another is given now":  {func(p *mapper) { p.busy["plant/b"], p.m.owners["plant/b"] = true, p }, false},
		"another is taken now":  {func(p *mapper) { p.busy["plant/b"] = true }, true},
		"one of another model":  {func(p *mapper) { p.given["plant/b"] = &given{model: "plant/pump"} }, true},
		"the model is not here": {func(p *mapper) { clear(p.models) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			p := newMapper(m, info{Name: "m", Protocol: "modbus"})
			p.models["plant/boiler"] = 1
			c.change(p)
			conn := new(calls)
			p.takeModel(t.Context(), v1beta1.NewMapper(conn), "plant/boiler")
			if got := slices.Contains(conn.made, remove); got != c.removed {
				t.Errorf("the model is removed: %t, want %t; calls %q", got, c.removed, conn.made)
			}
			if _, ok := p.models["plant/boiler"]; ok && c.removed {
				t.Error("the model is still noted")
			}
		})
	}
}
