package inprocess_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// heater is a Caller and a Discoverer in memory.
type heater struct{ *devicetest.Device }

func (h heater) Call(_ context.Context, method string, parameters schema.Options) (schema.Options, error) {
	if method != "echo" {
		return nil, &device.CallError{Code: device.CodeUnknown, Reason: "no " + method}
	}
	return parameters, nil
}

func (h heater) Discover(_ context.Context, found func(device.Proposal)) error {
	found(device.Proposal{Name: "heater-2", Model: "heater", Protocol: schema.Protocol{Config: schema.Options(`{"port":2}`)}, Labels: map[string]string{"vendor": "acme"}})
	found(device.Proposal{Name: "stranger", Protocol: schema.Protocol{Config: schema.Options(`{"port":3}`)}})
	return nil
}

// TestExtras has a mapper in the same program: conditions are in the engine, methods are
// called, a device that was found is adopted by a rule and driven, and one by hand.
func TestExtras(t *testing.T) {
	e := start(t)
	model := schema.DeviceModelSpec{Properties: []schema.ModelProperty{{Name: "temperature", Type: schema.TypeFloat}}}
	link, err := inprocess.New(inprocess.Config{Engine: e.Engine, Adopt: func(p device.Proposal) (string, schema.DeviceModelSpec, bool) {
		return "plant/" + p.Name, model, p.Labels["vendor"] == "acme"
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.Put(t, "plant/heater-1", "heat")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		ended <- device.Run(running, device.Config{Protocol: "heat", Link: link, DiscoverCycle: time.Minute, New: func() device.Driver {
			h := heater{new(devicetest.Device)}
			h.Set("temperature", "20")
			h.Set("target", "20")
			return h
		}})
	}()
	e.Wait(t, func() bool {
		d, _ := e.Engine.Device("plant/heater-2")
		return e.Actual(t, "plant/heater-2", "temperature") == "20" && len(d.Conditions) > 2
	}, func() string { return "plant/heater-2 was not adopted and read" })
	result, err := link.Call(ctx, "plant/heater-1", "echo", schema.Options(`{"a":1}`))
	if string(result) != `{"a":1}` || err != nil {
		t.Errorf("%s, %v", result, err)
	}
	if _, err := link.Call(ctx, "plant/none", "echo", nil); !errors.Is(err, device.ErrNotDriven) {
		t.Errorf("a device of nobody: %v", err)
	}
	var stranger device.Proposal
	for _, p := range link.Proposals() {
		if p.Name == "stranger" {
			stranger = p
		}
	}
	raw, err := json.Marshal(stranger) // as edgectl reads it
	if err := errors.Join(err, link.Adopt(ctx, "plant/stranger", stranger, model)); err != nil {
		t.Fatal(err)
	}
	e.Wait(t, func() bool { return e.State(t, "plant/stranger") == device.Online }, func() string { return "plant/stranger was not adopted" })
	if e.State(t, "plant/heater-1") != device.Online {
		t.Errorf("state is %s; the proposal is %s", e.State(t, "plant/heater-1"), raw)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
