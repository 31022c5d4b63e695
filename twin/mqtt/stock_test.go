package mqtt_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// exchange is a message of a client, and the messages that follow, in their order. %s in both
// is a number that no other exchange has.
type exchange struct {
	topic, payload string
	answers        []answer
}

type answer struct{ topic, part string }

const (
	boilerTopic = "$hw/events/device/plant/boiler/"
	nodeTopic   = "$hw/events/node/node/"
)

// exchanges are about each topic of part 1 of the protocol.
var exchanges = []exchange{
	{boilerTopic + "twin/update", `{"event_id":"%s","twin":{"temperature":{"actual":{"value":"%s"}},"target":{"expected":{"value":"%s"}}}}`, []answer{
		{boilerTopic + "twin/update/result", `"event_id":"%s"`}, {boilerTopic + "twin/update/document", `"value":"%s"`}, {boilerTopic + "twin/update/delta", `"delta":{"target":"%s"}`},
	}},
	{boilerTopic + "twin/update", `{"event_id":"%s","twin":{"target":{"actual":{"value":"%s"}}}}`, []answer{{boilerTopic + "twin/update/result", `"event_id":"%s"`}, {boilerTopic + "twin/update/document", `"value":"%s"`}}},
	{boilerTopic + "twin/update", `{"event_id":"%s","twin":{"target":null}}`, []answer{{boilerTopic + "twin/update/result", `"target":null`}, {boilerTopic + "twin/update/document", `"current":null`}}},
	{boilerTopic + "twin/update", `{"event_id":"%s","twin":[]}`, []answer{{boilerTopic + "twin/update/result", `"code":400`}}},
	{"$hw/events/device/plant/none/twin/update", `{"event_id":"%s","twin":{"a":null}}`, []answer{{"$hw/events/device/plant/none/twin/update/result", `"code":404`}}},
	{boilerTopic + "twin/cloud_updated", `{"event_id":"%s","twin":{"target":{"expected":{"value":"%s"},"expected_version":{"cloud":%s000,"edge":%s000}}}}`, []answer{
		{boilerTopic + "twin/update/result", `"event_id":"%s"`}, {boilerTopic + "twin/update/document", `"value":"%s"`}, {boilerTopic + "twin/update/delta", `"target":"%s"`},
	}},
	{boilerTopic + "twin/get", `{"event_id":"%s"}`, []answer{{boilerTopic + "twin/get/result", `"event_id":"%s"`}}},
	{boilerTopic + "twin/history", `{"event_id":"%s","properties":["temperature"]}`, []answer{{boilerTopic + "twin/history/result", `"event_id":"%s"`}}},
	{boilerTopic + "state/update", `{"event_id":"%s","state":"online"}`, []answer{{boilerTopic + "state/update/result", `"state":"online"`}}},
	{boilerTopic + "state/get", `{"event_id":"%s"}`, []answer{{boilerTopic + "state/get/result", `"lastOnlineTime"`}}},
	{nodeTopic + "membership/get", `{"event_id":"%s"}`, []answer{{nodeTopic + "membership/get/result", `"id":"plant/boiler"`}}},
	{nodeTopic + "membership/detail", `{"event_id":"%s"}`, []answer{{nodeTopic + "membership/detail/result", `"spec":{"a":"b"}`}}},
	{nodeTopic + "membership/protocol/modbus/detail", `{"event_id":"%s"}`, []answer{{nodeTopic + "membership/protocol/modbus/detail/result", `"spec":{"a":"b"}`}}},
	// What goes between clients, or to the cloud, passes the broker as it is.
	{"$ke/events/device/plant/boiler/data/update", `raw %s`, nil},
	{"$hw/events/upload/x", `raw %s`, nil},
	{"SYS/dis/upload_records", `raw %s`, nil},
	{"app/user/x", `raw %s`, nil},
}

// TestStockClients has mosquitto's clients, with each version of MQTT, and a plain client of MQTT
// 5 use every topic, at the embedded broker and at mosquitto.
func TestStockClients(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
	}
	t.Run("internal", func(t *testing.T) {
		inner, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		n := startStock(t, bus.Config{Internal: inner})
		useTopics(t, n, inner.Addr().String())
	})
	t.Run("external", func(t *testing.T) {
		if _, err := exec.LookPath("mosquitto"); err != nil {
			t.Skip("mosquitto is not installed: apt-get install mosquitto")
		}
		address := bustest.Address(t)
		host, port, err := net.SplitHostPort(strings.TrimPrefix(address, "tcp://"))
		if err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(t.TempDir(), "mosquitto.conf")
		if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %s %s\nallow_anonymous true\n", port, host), 0o644); err != nil {
			t.Fatal(err)
		}
		program := exec.Command("mosquitto", "-c", conf)
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = program.Process.Kill()
			_ = program.Wait() // it was killed
		})
		outside, err := client.New(client.Config{URL: address, ClientID: "edgecore-node", SessionExpiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		n := startStock(t, bus.Config{Mode: bus.External, External: outside})
		useTopics(t, n, net.JoinHostPort(host, port))
	})
}

// startStock runs a node with a device.
func startStock(t *testing.T, cfg bus.Config) *twin.Engine {
	t.Helper()
	engine, err1 := twin.New(twin.Config{Store: memstore.New()})
	b, err2 := bus.New(cfg)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	bridge, err := mqtt.New(mqtt.Config{Engine: engine, Bus: b, Node: "node"})
	if err != nil {
		t.Fatal(err)
	}
	announced := make(chan struct{}) // the topics are served
	var once sync.Once
	_, err = b.Subscribe(nodeTopic+"membership/detail/result", func(context.Context, bus.Message) { once.Do(func() { close(announced) }) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{bridge.Run, b.Run, engine.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() { cancel(); running.Wait() })
	<-announced
	put := twin.Put{
		Member:     twin.Member{Protocol: "modbus", Spec: []byte(`{"a":"b"}`)},
		Properties: []twin.Declaration{{Name: "temperature", Type: "int", Rule: twin.Rule{History: history.Limit{Values: 5}}}},
	}
	if err := engine.Put(t.Context(), "plant/boiler", put); err != nil {
		t.Fatal(err)
	}
	return engine
}

// useTopics plays all exchanges with each client.
func useTopics(t *testing.T, engine *twin.Engine, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	value := 0
	for _, version := range []string{"31", "311", "5"} {
		t.Run("mosquitto_pub "+version, func(t *testing.T) {
			publish := func(topic, payload string) {
				t.Helper()
				out, err := exec.CommandContext(t.Context(), "mosquitto_pub", "-V", version, "-h", host, "-p", port, "-q", "1", "-t", topic, "-m", payload).CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v: %s", topic, err, out)
				}
			}
			playAll(t, engine, publish, mosquittoSub(t, version, host, port, publish), &value)
		})
	}
	t.Run("MQTT 5 client", func(t *testing.T) {
		publish, lines := stockClient(t, address)
		playAll(t, engine, publish, lines, &value)
	})
	out, err := exec.CommandContext(t.Context(), "mosquitto_rr", "-V", "5", "-h", host, "-p", port, "-q", "1", "-t", boilerTopic+"twin/get", "-e", boilerTopic+"twin/get/result", "-m", `{"event_id":"rr"}`).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"event_id":"rr"`) {
		t.Errorf("mosquitto_rr: %v: %s", err, out)
	}
}

// mosquittoSub starts a subscriber to all topics, and waits until it gets messages. It gives
// them as "topic payload".
func mosquittoSub(t *testing.T, version, host, port string, publish func(topic, payload string)) <-chan string {
	t.Helper()
	args := []string{"-V", version, "-h", host, "-p", port, "-v", "-q", "1"}
	for _, filter := range []string{"$hw/#", "$ke/#", "#"} {
		args = append(args, "-t", filter)
	}
	sub := exec.Command("mosquitto_sub", args...)
	out, err := sub.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 10_000)
	var reading sync.WaitGroup
	reading.Go(func() {
		for r := bufio.NewScanner(out); r.Scan(); {
			select {
			case lines <- r.Text():
			case <-t.Context().Done():
			}
		}
		_ = sub.Wait() // it was killed
	})
	t.Cleanup(func() { _ = sub.Process.Kill(); reading.Wait() })
	for probe := 0; ; probe++ {
		publish("probe", fmt.Sprint(probe))
		select {
		case <-lines:
			return lines
		case <-time.After(100 * time.Millisecond): // it has not subscribed yet: once more
		}
		if probe == 1000 {
			t.Fatal("mosquitto_sub gets nothing")
		}
	}
}

// stockClient is a client of MQTT 5 that is subscribed to all topics. Each message of the twin
// has its event_id as a user property too.
func stockClient(t *testing.T, address string) (publish func(topic, payload string), lines <-chan string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10_000)
	c := paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			m := p.Packet
			last := m.Topic[strings.LastIndexByte(m.Topic, '/')+1:]
			if (last == "result" || last == "document" || last == "delta") && !strings.Contains(string(m.Payload), fmt.Sprintf(`"event_id":%q`, m.Properties.User.Get("event_id"))) {
				t.Errorf("%s has the event_id %q as property", m.Topic, m.Properties.User.Get("event_id"))
			}
			select {
			case got <- m.Topic + " " + string(m.Payload):
			case <-t.Context().Done():
			}
			return true, nil
		},
	}})
	if ack, err := c.Connect(t.Context(), &paho.Connect{ClientID: "stock", KeepAlive: 300, CleanStart: true}); err != nil {
		t.Fatalf("%v %v", ack, err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	for _, filter := range []string{"$hw/#", "$ke/#", "#"} {
		if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	return func(topic, payload string) {
		t.Helper()
		if _, err := c.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)}); err != nil {
			t.Fatalf("%s: %v", topic, err)
		}
	}, got
}

// playAll plays all exchanges, and the changes of the device's owner.
func playAll(t *testing.T, engine *twin.Engine, publish func(topic, payload string), lines <-chan string, value *int) {
	t.Helper()
	for _, e := range exchanges {
		*value++
		number := fmt.Sprint(*value)
		payload := strings.ReplaceAll(e.payload, "%s", number)
		publish(e.topic, payload)
		if e.answers == nil {
			e.answers = []answer{{e.topic, payload}}
		}
		for _, a := range e.answers {
			expect(t, lines, a.topic, strings.ReplaceAll(a.part, "%s", number))
		}
	}
	if err := engine.Put(t.Context(), "plant/pump", twin.Put{Member: twin.Member{Protocol: "modbus"}}); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, nodeTopic+"membership/updated", `"added_devices":[{"id":"plant/pump"`)
	expect(t, lines, nodeTopic+"membership/protocol/modbus/updated", `"added_devices":[{"id":"plant/pump"`)
	if err := engine.Remove(t.Context(), "plant/pump"); err != nil {
		t.Fatal(err)
	}
	expect(t, lines, nodeTopic+"membership/updated", `"removed_devices":[{"id":"plant/pump"`)
	expect(t, lines, nodeTopic+"membership/protocol/modbus/updated", `"removed_devices":[{"id":"plant/pump"`)
}

// expect takes messages until one is on the topic and has the part.
func expect(t *testing.T, lines <-chan string, topic, part string) {
	t.Helper()
	for {
		select {
		case line := <-lines:
			if got, payload, _ := strings.Cut(line, " "); got == topic && strings.Contains(payload, part) {
				return
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("nothing came on %s with %s", topic, part)
		}
	}
}
