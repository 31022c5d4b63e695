package bus_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true},
		{"a/b", "a/b/c", false},
		{"a/b/c", "a/b", false},
		{"a/+", "a/b", true},
		{"a/+", "a/", true},
		{"a/+", "a", false},
		{"+/+", "/b", true},
		{"+", "/b", false},
		{"#", "a/b/c", true},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"a/#", "ab", false},
		{"a/+/#", "a", false},
		{"a/+/#", "a/b", true},
		{"#", "$hw/events", false},
		{"+/events", "$hw/events", false},
		{"$hw/#", "$hw/events", true},
		{"$hw/events/device/+/+/twin/+", "$hw/events/device/dev/node/twin/update", true},
		{"$hw/events/device/+/+/twin/+", "$hw/events/device/dev/node/twin/update/result", false},
	}
	for _, tt := range tests {
		if got := bus.Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.topic, got)
		}
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 65536)
	for topic, ok := range map[string]bool{
		"a": true, "/": true, "a b/ä": true, "$hw/x": true, long[1:]: true,
		"": false, "a/+": false, "#": false, "a\x00": false, "\xff": false, long: false,
	} {
		err := bus.ValidateTopic(topic)
		if (err == nil) != ok {
			t.Errorf("ValidateTopic(%.20q) = %v", topic, err)
		}
		var invalid *bus.InvalidError
		if err != nil && !errors.As(err, &invalid) {
			t.Errorf("ValidateTopic(%.20q): %T", topic, err)
		}
	}
	for filter, ok := range map[string]bool{
		"a": true, "#": true, "+": true, "a/+/b/#": true, "/+": true,
		"": false, "a#": false, "a/#/b": false, "a+/b": false, "$share/g/a": true, "$share/g/#": true,
		"$share/g": false, "$share/g/": false, "$share//a": false, "$share/+/a": false, "$share/g/a#": false,
	} {
		if err := bus.ValidateFilter(filter); (err == nil) != ok {
			t.Errorf("ValidateFilter(%q) = %v", filter, err)
		}
	}
	for _, m := range []bus.Message{
		{Topic: "a/#"}, {Topic: "a", QoS: 3}, {Topic: "a", Properties: []bus.Property{{Key: "\xff"}}},
	} {
		if m.Validate() == nil {
			t.Errorf("%+v was taken", m)
		}
	}
}

// FuzzMatch compares Match with a plain reading of the rules.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("#", "$hw")
	f.Add("+//", "//")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if bus.ValidateFilter(filter) != nil || bus.ValidateTopic(topic) != nil {
			t.Skip()
		}
		if got, want := bus.Match(filter, topic), plain(strings.Split(filter, "/"), strings.Split(topic, "/")); got != want {
			t.Errorf("Match(%q, %q) = %v", filter, topic, got)
		}
	})
}

func plain(filter, topic []string) bool {
	if strings.HasPrefix(topic[0], "$") && (filter[0] == "#" || filter[0] == "+") {
		return false
	}
	for i, level := range filter {
		if level == "#" {
			return true
		}
		if i >= len(topic) || level != "+" && level != topic[i] {
			return false
		}
	}
	return len(filter) == len(topic)
}

func TestMode(t *testing.T) {
	for text, want := range map[string]bus.Mode{"internal": bus.Internal, "0": bus.Internal, "both": bus.Both, "1": bus.Both, "external": bus.External, "2": bus.External} {
		var m bus.Mode
		if err := m.UnmarshalText([]byte(text)); err != nil || m != want {
			t.Errorf("%q: %v, %v", text, m, err)
		}
		if again, err := m.MarshalText(); err != nil || string(again) != want.String() {
			t.Errorf("%q: %s, %v", text, again, err)
		}
	}
	if _, err := bus.ParseMode("inside"); err == nil {
		t.Error("an unknown mode was taken")
	}
}
