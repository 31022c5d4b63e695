package bus_test

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
)

// TestBridgeFilters refuses filters that would bring messages twice or not at all.
func TestBridgeFilters(t *testing.T) {
	for _, test := range []struct {
		cfg  bus.Bridge
		want string // part of the error; empty if there is none
	}{
		{bus.Bridge{}, ""},
		{bus.Bridge{Out: []string{"a/#", "a/b", "$hw/events/#"}, In: []string{"a/#", "b/+", "c"}}, ""},
		{bus.Bridge{In: []string{"a/+/c", "a/b/d", "+/+"}}, ""},
		{bus.Bridge{Out: []string{""}}, "Out"},
		{bus.Bridge{In: []string{"a/#/b"}}, "In"},
		{bus.Bridge{In: []string{"$share/x/a"}}, "leave it out"},
		{bus.Bridge{Out: []string{"$share/x/a"}}, "leave it out"},
		{bus.Bridge{Out: []string{"$SYS/broker"}}, "leave it out"},
		{bus.Bridge{In: []string{"$hw/events/device/+/+/twin/update"}}, "leave it out"},
		{bus.Bridge{In: []string{"a/#", "a"}}, "overlap"},
		{bus.Bridge{In: []string{"a/+/c", "a/b/+"}}, "overlap"},
		{bus.Bridge{In: []string{"#", "b"}}, "overlap"},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test.cfg, err)
		}
	}
	filters := bus.Bridge{In: []string{"a"}}
	for _, cfg := range []bus.Config{
		{Mode: bus.External, External: bustest.New(), Bridge: filters},
		{Mode: bus.Both, Internal: bustest.New(), External: bustest.New(), Bridge: filters}, // they keep nothing
	} {
		if _, err := bus.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Bridge") {
			t.Errorf("mode %s: %v", cfg.Mode, err)
		}
	}
}
