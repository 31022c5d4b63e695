package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/device"
)

// protocol selects this driver: it is the protocolName of its Devices.
const protocol = "thermometer"

// connection is the driver's own part of a Device: spec.protocol.configData.
// A real driver would have an address and a port here.
type connection struct {
	Start float64 `json:"start"` // temperature of the room at first, in degrees Celsius
	Speed float64 `json:"speed"` // degrees per second by which the heater can change it
}

// thermometer is the driver of one simulated room. It has two properties:
// temperature, which can be read, and target, which can be set. The room
// follows the target.
//
// It needs no lock, since the SDK calls one driver from one goroutine.
type thermometer struct {
	connection
	target      float64
	temperature float64
	asOf        time.Time
}

// Open connects to the device. This one only reads its settings.
func (t *thermometer) Open(_ context.Context, dev device.Instance) error {
	t.connection = connection{Start: 18, Speed: 0.5}
	if err := dev.Spec.Protocol.Config.Decode(&t.connection); err != nil {
		return err
	}
	t.temperature, t.target, t.asOf = t.Start, t.Start, time.Now()
	return nil
}

// Read gives a property as text.
func (t *thermometer) Read(_ context.Context, property string) (string, error) {
	t.advance(time.Now())
	switch property {
	case "temperature":
		return strconv.FormatFloat(t.temperature, 'f', 1, 64), nil
	case "target":
		return strconv.FormatFloat(t.target, 'f', 1, 64), nil
	}
	return "", fmt.Errorf("thermometer has no property %q", property)
}

// Write sets a property.
func (t *thermometer) Write(_ context.Context, property, value string) error {
	if property != "target" {
		return fmt.Errorf("thermometer cannot set %q", property)
	}
	target, err := strconv.ParseFloat(value, 64)
	if err != nil {
		return fmt.Errorf("target %q is not a number", value)
	}
	t.advance(time.Now())
	t.target = target
	return nil
}

// Close has nothing to free.
func (t *thermometer) Close() error { return nil }

// advance moves the room's temperature towards the target.
func (t *thermometer) advance(now time.Time) {
	step := t.Speed * now.Sub(t.asOf).Seconds()
	t.asOf = now
	switch gap := t.target - t.temperature; {
	case math.Abs(gap) <= step:
		t.temperature = t.target
	default:
		t.temperature += math.Copysign(step, gap)
	}
}
