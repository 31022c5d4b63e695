package main

import (
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
)

// TestDriver holds the driver to the contract of device.Driver. A driver of your
// own needs no more than this, and a device or simulator that answers.
func TestDriver(t *testing.T) {
	spec, model := roomSpec()
	devicetest.RunDriver(t, devicetest.DriverConfig{
		New:      func() device.Driver { return new(thermometer) },
		Instance: device.Instance{ID: room, Spec: spec, Model: model},
		Write:    map[string][]string{"target": {"21", "23.5"}}, // the temperature follows slowly
		Others:   []device.Instance{{ID: "home/kitchen", Spec: spec, Model: model}},
	})
}
