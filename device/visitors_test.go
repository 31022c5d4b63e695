package device_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// TestVisitors has a property whose visitor is wrong: it fails alone.
func TestVisitors(t *testing.T) {
	wrong := errors.New("visitors.configData is missing")
	dev := device.Instance{Spec: schema.DeviceSpec{Properties: []schema.Property{{Name: "good"}, {Name: "bad"}}}}
	visitors := device.NewVisitors(dev, func(p schema.Property) (int, error) {
		if p.Name == "bad" {
			return 0, wrong
		}
		return 7, nil
	})
	if got, err := visitors.Of("good"); got != 7 || err != nil {
		t.Errorf("good: got %d, %v", got, err)
	}
	if _, err := visitors.Of("bad"); !errors.Is(err, wrong) {
		t.Errorf("bad: got %v", err)
	}
	for _, v := range []device.Visitors[int]{visitors, {}} {
		if _, err := v.Of("none"); err == nil || err.Error() != `the device has no property "none"` {
			t.Errorf("none: got %v", err)
		}
	}
	if got := maps.Collect(visitors.All()); !maps.Equal(got, map[string]int{"good": 7}) {
		t.Errorf("all: got %v", got)
	}
}

// forgetful is a BatchReader that has nothing to say of a property without a value.
type forgetful struct{ devicetest.Device }

func (f *forgetful) ReadMany(_ context.Context, properties []string) (map[string]device.Reading, error) {
	readings, values := make(map[string]device.Reading), f.Values()
	for _, name := range properties {
		if value, ok := values[name]; ok {
			readings[name] = device.Reading{Value: value}
		}
	}
	return readings, nil
}

func TestReadOne(t *testing.T) {
	var f forgetful
	f.Set("speed", "20")
	if r, err := device.ReadOne(t.Context(), &f, "speed"); r.Value != "20" || err != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	if _, err := device.ReadOne(t.Context(), &f, "none"); err == nil {
		t.Error("a property without a reading has no error")
	}
}
