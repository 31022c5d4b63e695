package main

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestMQTTLimits sets each bound of the broker by its flag, and refuses wrong values under the
// flag's name with the values that it may have.
func TestMQTTLimits(t *testing.T) {
	fields := reflect.TypeFor[mqttLimits]()
	set := func(i int, v int64) broker.Config {
		var l mqttLimits
		reflect.ValueOf(&l).Elem().Field(i).SetInt(v)
		var cfg broker.Config
		err := l.apply(&cfg)
		usage, ok := errors.AsType[*program.UsageError](err)
		name := fields.Field(i).Tag.Get("name")
		if good := v == int64(2*time.Second) || v == 5000; good != (err == nil) || (!good && (!ok || usage.Setting != name || !strings.Contains(usage.Reason, "give a "))) {
			t.Errorf("%s=%d: %v", name, v, err)
		}
		return cfg
	}
	seen := map[string]bool{}
	for i := range fields.NumField() {
		good := int64(5000)
		if fields.Field(i).Type == reflect.TypeFor[time.Duration]() {
			good = int64(2 * time.Second)
		}
		cfg := reflect.ValueOf(set(i, good))
		for j := range cfg.NumField() {
			if f := cfg.Field(j); f.CanInt() && f.Int() == good {
				seen[cfg.Type().Field(j).Name] = true
			}
		}
		set(i, -1)
		set(i, 1<<62)
	}
	cfg := reflect.TypeFor[broker.Config]()
	for j := range cfg.NumField() {
		if f := cfg.Field(j); (strings.HasPrefix(f.Name, "Max") || f.Name == "WriteBuffer" || f.Name == "SessionExpiry") && !seen[f.Name] {
			t.Errorf("no flag sets broker.Config.%s", f.Name)
		}
	}
	var c broker.Config
	err := (&mqttLimits{MQTTMaxQueueBytes: 1 << 20, MQTTMaxQueuedBytes: 1 << 19}).apply(&c)
	if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != "mqtt-max-queue-bytes" {
		t.Error(err)
	}
}
