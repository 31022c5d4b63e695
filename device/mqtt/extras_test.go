package mqtt_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/internal/edgetest"
	"github.com/edgekit/edgekit/device/mqtt"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
)

// heater is a Caller and a Discoverer in memory.
type heater struct{ *devicetest.Device }

func (h heater) Call(_ context.Context, method string, parameters schema.Options) (schema.Options, error) {
	if method != "echo" {
		return nil, errors.New("the heater is broken")
	}
	return parameters, nil
}

func (h heater) Discover(_ context.Context, found func(device.Proposal)) error {
	found(device.Proposal{Name: "heater-2", Protocol: schema.Protocol{Config: schema.Options(`{"port":2}`)}})
	return nil
}

// TestExtras has a mapper beside edgecore: an app calls methods over MQTT, finds the retained
// proposals, and the engine has the conditions.
func TestExtras(t *testing.T) {
	e := startEdge(t, memstore.New(), "tcp://127.0.0.1:0")
	e.Put(t, "a/b", "heat/er")
	dial := func() *bus.Bus {
		outside, err := client.New(client.Config{URL: e.addr})
		if err != nil {
			t.Fatal(err)
		}
		b, err := bus.New(bus.Config{Mode: bus.External, External: outside})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	own, app := dial(), dial()
	link, err := mqtt.New(mqtt.Config{Bus: own, Node: "edge-7", Protocol: "heat/er"})
	if err != nil {
		t.Fatal(err)
	}
	dev := new(devicetest.Device)
	dev.Set("temperature", "20") // it has no target
	edgetest.Run(t, own.Run, app.Run, func(ctx context.Context) error {
		return device.Run(ctx, device.Config{Protocol: "heat/er", Link: link, DiscoverCycle: time.Hour, New: func() device.Driver { return heater{dev} }})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	results, proposals := make(chan topics.MethodResultMessage, 1000), make(chan bus.Message, 1000)
	_, err1 := app.Subscribe(topics.Device("a/b", topics.Result(topics.MethodCall)), func(_ context.Context, m bus.Message) {
		var r topics.MethodResultMessage
		if err := json.Unmarshal(m.Payload, &r); err != nil {
			t.Errorf("%s: %v", m.Payload, err)
		}
		results <- r
	})
	_, err2 := app.Subscribe(topics.Node("edge-7", topics.Proposed("heat/er")), func(_ context.Context, m bus.Message) { proposals <- m })
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	<-app.Ready()
	call := func(id, payload string) string {
		retry := time.NewTicker(time.Second) // the mapper may not be there yet
		defer retry.Stop()
		for {
			m := bus.Message{Topic: topics.Device("a/b", topics.MethodCall), Payload: []byte(payload), QoS: bus.AtLeastOnce, Properties: []bus.Property{{Key: "event_id", Value: id}}}
			if err := app.Publish(ctx, m); err != nil {
				t.Fatal(err)
			}
			for again := false; !again; {
				select {
				case r := <-results:
					if r.EventID == id && r.Code != device.CodeUnavailable && r.Reason != "" {
						return fmt.Sprintf("%d %s", r.Code, r.Reason)
					}
					if r.EventID == id && r.Code == 0 {
						return string(r.Result)
					}
				case <-retry.C:
					again = true
				case <-ctx.Done():
					t.Fatal("no result of the method")
				}
			}
		}
	}
	for n, tt := range []struct{ payload, want string }{
		{`{"event_id":"%s","method":"echo","parameters":{"a":1}}`, `{"a":1}`},
		{`{"event_id":"%s","method":"echo","deadline":60000}`, ``},
		{`{"event_id":"%s","method":"boil"}`, `500 Call boil: the heater is broken`},
		{`{"event_id":"%s","method":""}`, `400 field "method" is required: the method's name`},
		{`{"event_id":"%s","method":"echo","parameters":[1]}`, `400 field "parameters" must be an object`},
		{`{"event_id":"%s","method":"echo","deadline":-1}`, `400 field "deadline" must be a number of milliseconds, up to an hour`},
		{`no JSON %s`, `400 payload is not a call of a method: it is no JSON object with method and parameters`},
	} {
		id := fmt.Sprint("call-", n)
		if got := call(id, fmt.Sprintf(tt.payload, id)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.payload, got, tt.want)
		}
	}
	select {
	case m := <-proposals:
		var p topics.ProposalsMessage
		var list []device.Proposal
		if err := errors.Join(json.Unmarshal(m.Payload, &p), json.Unmarshal(p.Proposals, &list)); err != nil || len(list) != 1 || list[0].Name != "heater-2" || p.Protocol != "heat/er" {
			t.Errorf("%s: %v", m.Payload, err)
		}
	case <-ctx.Done():
		t.Fatal("no proposals")
	}
	for {
		d, _ := e.Engine.Device("a/b")
		found := false
		for _, c := range d.Conditions {
			found = found || c.Type == device.ConditionValuesValid && c.Reason == "ReadFailed"
		}
		if found {
			return
		}
		if err := app.Publish(ctx, bus.Message{Topic: topics.Device("a/b", topics.StateGet), Payload: []byte(`{}`), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatalf("the condition has not come: %+v: %v", d.Conditions, err)
		}
	}
}
