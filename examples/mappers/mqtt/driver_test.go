package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/mappertest"
)

const lamp = "home/lamp-1"

// simulator is a lamp of zigbee2mqtt at a broker of its own.
type simulator struct {
	t   *testing.T
	bus *bus.Bus

	mu         sync.Mutex
	state      string
	brightness int
}

// startLamp starts a lamp and its broker behind a proxy, and returns the Device of
// device.yaml at it.
func startLamp(t *testing.T) (*simulator, *mappertest.Proxy, device.Instance) {
	t.Helper()
	server, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := bus.New(bus.Config{Mode: bus.Internal, Internal: server})
	if err != nil {
		t.Fatal(err)
	}
	s := &simulator{t: t, bus: b, state: "OFF", brightness: 10}
	for topic, handle := range map[string]func(context.Context, bus.Message){
		"zigbee2mqtt/lamp/set": s.command,
		"zigbee2mqtt/lamp/get": func(ctx context.Context, _ bus.Message) { s.report(ctx) },
	} {
		if _, err := b.Subscribe(topic, handle); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	<-b.Ready()
	s.publish(t.Context(), "plug/power", "7.5")
	s.publish(t.Context(), "zigbee2mqtt/lamp/availability", `{"state":"online"}`)
	proxy := mappertest.NewProxy(t, server.Addr().String())
	dev := mappertest.Instance(t, "model.yaml", "device.yaml")
	var c connection
	config := strings.Replace(string(dev.Spec.Protocol.Config), `{"secretRef":{"key":"password","name":"zigbee2mqtt"}}`, `""`, 1)
	if err := schema.Options(config).Decode(&c); err != nil {
		t.Fatal(err)
	}
	c.Broker, c.Confirm = "tcp://"+proxy.Addr(), 60_000
	if dev.Spec.Protocol.Config, err = schema.NewOptions(c); err != nil {
		t.Fatal(err)
	}
	for n := range dev.Spec.Properties {
		dev.Spec.Properties[n].CollectCycle = 20
		dev.Spec.Properties[n].Desired = nil
	}
	return s, proxy, dev
}

// publish publishes a retained message.
func (s *simulator) publish(ctx context.Context, topic, payload string) {
	if err := s.bus.Publish(ctx, bus.Message{Topic: topic, Payload: []byte(payload), QoS: bus.AtLeastOnce, Retain: true}); err != nil && ctx.Err() == nil {
		s.t.Error(err)
	}
}

// report sends the lamp's values.
func (s *simulator) report(ctx context.Context) {
	s.mu.Lock()
	text := fmt.Sprintf(`{"state":%q,"brightness":%d,"color":{"x":0.3,"y":0.4},"linkquality":90}`, s.state, s.brightness)
	s.mu.Unlock()
	s.publish(ctx, "zigbee2mqtt/lamp", text)
}

// command carries out a command.
func (s *simulator) command(ctx context.Context, m bus.Message) {
	in := struct {
		State      *string
		Brightness *int
	}{}
	if err := json.Unmarshal(m.Payload, &in); err != nil {
		s.t.Errorf("command %q: %v", m.Payload, err)
		return
	}
	s.mu.Lock()
	if in.State != nil {
		s.state = *in.State
	}
	if in.Brightness != nil {
		s.brightness = *in.Brightness
	}
	s.mu.Unlock()
	s.report(ctx)
}

func (s *simulator) setBrightness(n int) {
	s.mu.Lock()
	s.brightness = n
	s.mu.Unlock()
	s.report(s.t.Context())
}

func (s *simulator) now() (state string, brightness int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.brightness
}

// TestDriver holds the driver to the contract of device.Driver and device.Subscriber.
func TestDriver(t *testing.T) {
	s, proxy, dev := startLamp(t)
	other := dev
	other.ID = "home/lamp-2"
	n := 100
	devicetest.RunDriver(t, devicetest.DriverConfig{
		New:      config().New,
		Instance: dev,
		Write:    map[string][]string{"state": {"ON", "OFF"}},
		Others:   []device.Instance{other},
		Hang:     proxy.Hold,
		Change: func() (string, string) {
			n++
			s.setBrightness(n)
			return "brightness", strconv.Itoa(n)
		},
	})
}

// TestRecovers has broker and lamp drop, hang, lie and restart under a gateway.
func TestRecovers(t *testing.T) {
	s, proxy, dev := startLamp(t)
	cfg := config()
	g := mappertest.NewGateway(t, cfg, dev)
	g.WaitActual(lamp, "power", "7.5")
	g.WaitActual(lamp, "x", "0.3")
	next := 20
	follows := func(t *testing.T) { // both ways
		t.Helper()
		next++
		g.SetDesired(lamp, "state", "S"+strconv.Itoa(next))
		g.Wait(func() bool { state, _ := s.now(); return state == "S"+strconv.Itoa(next) }, func() string { return "the lamp does not follow" })
		s.setBrightness(next)
		g.WaitActual(lamp, "brightness", strconv.Itoa(next))
		g.WaitState(lamp, device.Online)
	}
	follows(t)
	for name, disturb := range map[string]func() (end func()){
		"drops its connections": func() func() { proxy.Drop(); return func() {} },
		"has no power":          func() func() { proxy.Refuse(true); return func() { proxy.Refuse(false) } },
		"is not available": func() func() {
			s.publish(t.Context(), "zigbee2mqtt/lamp/availability", "offline")
			return func() { s.publish(t.Context(), "zigbee2mqtt/lamp/availability", "online") }
		},
		"sends rubbish": func() func() {
			proxy.Damage(func(b []byte) { b[0] = 0xff })
			s.report(t.Context())
			return func() { proxy.Damage(nil); proxy.Drop() }
		},
		"restarts with factory values": func() func() {
			proxy.Refuse(true)
			s.mu.Lock()
			s.state = "OFF"
			s.mu.Unlock()
			s.setBrightness(0)
			return func() { proxy.Refuse(false) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			end := disturb()
			if name != "drops its connections" {
				g.WaitState(lamp, device.Offline)
			}
			end()
			follows(t)
		})
	}
	t.Run("lies", func(t *testing.T) {
		s.publish(t.Context(), "zigbee2mqtt/lamp", `no JSON`)
		s.publish(t.Context(), "plug/power", `8`) // both have arrived when this has
		g.WaitActual(lamp, "power", "8")
		if got := g.Actual(lamp, "brightness"); got != strconv.Itoa(next) {
			t.Errorf("brightness is %q after a message that is no JSON", got)
		}
		follows(t)
	})
}

func TestSettingsErrors(t *testing.T) {
	for says, c := range map[string]connection{
		"broker is":        {Broker: "127.0.0.1"},
		"topic is missing": {Broker: "tcp://a:1"},
		"wildcards":        {Broker: "tcp://a:1", Topic: "a/#"},
		"negative":         {Broker: "tcp://a:1", Topic: "a", MaxAge: -1},
	} {
		if err := c.check(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: got %v, want %q", c, err, says)
		}
	}
	for says, config := range map[string]string{
		"jsonPath":   `{"jsonPath":"$["}`,
		"wildcards":  `{"topic":"a/+"}`,
		"configData": `{"topic":1}`,
	} {
		_, err := newPoint(&device.Instance{}, &connection{Topic: "t"}, schema.Property{Name: "p", Visitors: &schema.Visitor{Config: schema.Options(config)}})
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "property p") {
			t.Errorf("%s: got %v, want %q", config, err, says)
		}
	}
}

func TestAvailability(t *testing.T) {
	for payload, want := range map[string]bool{
		"online": true, "offline": false, "Offline": false, `"offline"`: false,
		`{"state":"online"}`: true, `{"state":"offline"}`: false, `{}`: true, "": true,
	} {
		if got := online([]byte(payload)); got != want {
			t.Errorf("%q: %v", payload, got)
		}
	}
}
