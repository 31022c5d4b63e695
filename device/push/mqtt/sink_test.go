package mqtt_test

import (
	"context"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/push/mqtt"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func none(string, string) string { return "" }

// TestSink publishes at a real broker.
func TestSink(t *testing.T) {
	inside, url := bustest.Broker(t)
	got := make(chan bus.Message, 10)
	stop, err := inside.Subscribe("values/#", func(_ context.Context, m bus.Message) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	s, err := mqtt.Open(schema.PushMethod{MQTT: &schema.PushMQTT{Address: url, Topic: "values/boiler", QoS: 1}}, none)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Write(t.Context(), []push.Reading{{Device: "plant/boiler", Property: "temperature", Value: "21", Type: schema.TypeInt, Time: 1760000000000}})
	if n != 1 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	m := <-got
	if want := `{"device":"plant/boiler","property":"temperature","value":"21","type":"INT","timestamp":1760000000000}`; m.Topic != "values/boiler" || string(m.Payload) != want {
		t.Errorf("got %s %s, want %s", m.Topic, m.Payload, want)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	stop()
}

func TestSettings(t *testing.T) {
	for field, m := range map[string]*schema.PushMQTT{
		"topic": {Address: "tcp://a:1", Topic: "a/#"}, "qos": {Address: "tcp://a:1", Topic: "a", QoS: 3},
		"address is empty": {Topic: "a"}, "address": {Address: "http://a", Topic: "a"},
	} {
		if _, err := mqtt.Open(schema.PushMethod{MQTT: m}, none); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: got %v", field, err)
		}
	}
}
