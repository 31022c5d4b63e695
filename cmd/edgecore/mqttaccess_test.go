package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/eclipse/paho.golang/paho"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

// parsed are the settings of a command line.
func parsed(t *testing.T, args ...string) *runCmd {
	t.Helper()
	var c cli
	p, err := kong.New(&c, kong.Name("edgecore"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Parse(args); err != nil {
		t.Fatal(err)
	}
	return &c.Run
}

func fileWith(t *testing.T, name, text string) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func usersFile(t *testing.T, users ...string) string {
	t.Helper()
	text := ""
	for _, user := range users {
		line, err := access.Hash(user, []byte("secret"), 1000)
		if err != nil {
			t.Fatal(err)
		}
		text += line + "\n"
	}
	return fileWith(t, "users", text)
}

// Each wrong setting is refused at the start, and the error names it.
func TestMQTTAccessSettings(t *testing.T) {
	users := usersFile(t, "anna")
	bad := fileWith(t, "bad", "x\n")
	for _, test := range []struct {
		args    []string
		setting string // empty: it is good
		want    string
	}{
		{nil, "", ""},
		{[]string{"--mqtt-listen", "tcp://127.0.0.1:0,unix://" + filepath.Join(t.TempDir(), "s")}, "", ""},
		{[]string{"--no-mqtt-pods"}, "mqtt-listen", "tcp://:1884, and no client could prove who it is: use tcp://127.0.0.1:1884, or set mqtt-pods"},
		{[]string{"--mqtt-pods=false", "--mqtt-listen", "tcp://127.0.0.1:1884"}, "", ""},
		{[]string{"--no-mqtt-pods", "--mqtt-users-file", users}, "", ""},
		{[]string{"--no-mqtt-pods", "--mqtt-allow-remote-anonymous"}, "", ""},
		{[]string{"--mqtt-listen", "tls://:8883"}, "mqtt-listen", "set mqtt-tls-cert and mqtt-tls-key"},
		{[]string{"--mqtt-listen", "http://127.0.0.1:1"}, "mqtt-listen", "use tcp://host:port"},
		{[]string{"--mqtt-listen", ""}, "mqtt-listen", "it is empty"},
		{[]string{"--mqtt-users-file", bad}, "mqtt-users-file", "bad:1: want NAME:HASH"},
		{[]string{"--mqtt-rules-file", bad}, "mqtt-rules-file", "the file is YAML"},
		{[]string{"--mqtt-tls-cert", bad, "--mqtt-tls-key", bad}, "mqtt-tls-", "PEM"},
		{[]string{"--mqtt-tls-cert", bad}, "mqtt-tls-cert", "set both or none"},
		{[]string{"--mqtt-tls-client-ca", bad}, "mqtt-tls-client-ca", "needs TLS"},
		{[]string{"--mqtt-mode", "external", "--mqtt-users-file", users}, "mqtt-users-file", "mqtt-mode is external"},
	} {
		r := parsed(t, test.args...)
		n, log := &node{name: "edge-1"}, slog.New(slog.DiscardHandler)
		a, err := r.access(n, nil, nil, nil, log)
		if err == nil {
			_, _, err = r.bus(n, a, log)
		}
		usage, _ := errors.AsType[*program.UsageError](err)
		switch {
		case test.setting == "":
			if err != nil {
				t.Errorf("%v: %v", test.args, err)
			}
		case usage == nil || !strings.HasPrefix(usage.Setting, test.setting) || !strings.Contains(usage.Reason, test.want):
			t.Errorf("%v: got %+v", test.args, err)
		}
	}
}

func TestFromHere(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 1} }
	pods := []*corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "203.0.113.7"}, {IP: "2001:db8::7"}}}}}
	for ip, want := range map[string]bool{"127.0.0.1": true, "203.0.113.7": true, "2001:db8::7": true, "203.0.113.8": false} {
		if got := fromHere(tcp(ip), pods); got != want {
			t.Errorf("%s: %v", ip, got)
		}
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range own {
		if network, ok := a.(*net.IPNet); ok && !fromHere(tcp(network.IP.String()), nil) {
			t.Errorf("%s is this machine's", network.IP)
		}
	}
	if !fromHere(&net.UnixAddr{}, nil) {
		t.Error("a unix socket is refused")
	}
}

// devices is the node's broker with the twin, as edgecore assembles them.
type devices struct {
	engine  *twin.Engine
	address string
}

func startDevices(t *testing.T, args ...string) *devices {
	t.Helper()
	d := &devices{}
	r := parsed(t, append([]string{"--mqtt-listen", "unix://" + filepath.Join(t.TempDir(), "mqtt.sock")}, args...)...)
	d.address = strings.TrimPrefix(r.MQTTListen[0], "unix://")
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	n, log := &node{name: "edge-1", store: store}, slog.New(slog.DiscardHandler)
	if d.engine, err = twin.New(twin.Config{Store: memstore.New(), Logger: log}); err != nil {
		t.Fatal(err)
	}
	a, err := r.access(n, nil, nil, d.engine, log)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := r.bus(n, a, log)
	if err != nil {
		t.Fatal(err)
	}
	topics, err := twinmqtt.New(twinmqtt.Config{Engine: d.engine, Bus: b, Node: n.name, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	announced := make(chan struct{}) // the topics are served
	var once sync.Once
	stop, err := b.Subscribe("$hw/events/node/edge-1/membership/detail/result", func(context.Context, bus.Message) { once.Do(func() { close(announced) }) })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{
		b.Run, d.engine.Run, topics.Run, a.Run,
	} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	<-announced
	return d
}

func (d *devices) lock(t *testing.T, id, protocol, desired string) {
	t.Helper()
	if err := d.engine.Put(t.Context(), id, twin.Put{
		Member:     twin.Member{Protocol: protocol, Spec: json.RawMessage(`{"protocol":{"protocolName":"` + protocol + `","configData":{"password":"hunter2"}}}`)},
		Properties: []twin.Declaration{{Name: "target", Type: "int", Desired: twin.Text(desired)}},
	}); err != nil {
		t.Fatal(err)
	}
}

// mqttClient is a stock client of MQTT 5.
type mqttClient struct {
	*paho.Client
	got chan *paho.Publish
}

func (d *devices) connect(t *testing.T, user string, filters ...string) *mqttClient {
	t.Helper()
	conn, err := net.Dial("unix", d.address)
	if err != nil {
		t.Fatal(err)
	}
	c := &mqttClient{got: make(chan *paho.Publish, 1000)}
	c.Client = paho.NewClient(paho.ClientConfig{Conn: conn, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) { c.got <- p.Packet; return true, nil },
	}})
	connect := &paho.Connect{ClientID: "c-" + user, KeepAlive: 300, CleanStart: true}
	if user != "" {
		connect.Username, connect.UsernameFlag, connect.Password, connect.PasswordFlag = user, true, []byte("secret"), true
	}
	if ack, err := c.Connect(t.Context(), connect); err != nil {
		t.Fatalf("%v %v", ack, err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	for _, f := range filters {
		if _, err := c.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: f, QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// code publishes and returns the reason code of the answer.
func (c *mqttClient) code(t *testing.T, topic, payload string) byte {
	t.Helper()
	answer, err := c.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte(payload)})
	if answer == nil {
		t.Fatal(err)
	}
	return answer.ReasonCode
}

// until takes messages until one is on the topic, and returns all.
func (c *mqttClient) until(t *testing.T, topic string) (all []*paho.Publish) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		select {
		case m := <-c.got:
			if all = append(all, m); m.Topic == topic {
				return all
			}
		case <-ctx.Done():
			t.Fatalf("nothing came on %s", topic)
		}
	}
}

const twinOf = "$hw/events/device/plant/lock/twin/"

// The attacks of the security review (H4) on the twin: no client acts as the cloud or as
// edgecore, anonymous or with a user, and only mappers see credentials.
func TestAttackMQTTTwin(t *testing.T) {
	rules := fileWith(t, "rules", `users:
- {name: modbus, role: mapper, protocols: [modbus]}
- {name: onvif, role: mapper, protocols: [onvif]}
- {name: app, role: app, devices: [plant/*]}
`)
	d := startDevices(t, "--mqtt-users-file", usersFile(t, "modbus", "onvif", "app"), "--mqtt-rules-file", rules)
	modbus, onvif, app, anonymous := d.connect(t, "modbus", "$hw/#"), d.connect(t, "onvif", "$hw/#"), d.connect(t, "app", "$hw/#"), d.connect(t, "")
	d.lock(t, "plant/lock", "modbus", "45")
	const credentials, refused = "hunter2", 0x87
	seen := false
	for _, m := range modbus.until(t, "$hw/events/node/edge-1/membership/protocol/modbus/updated") {
		seen = seen || strings.Contains(string(m.Payload), credentials)
	}
	if !seen {
		t.Error("the mapper did not get the spec")
	}
	before, _ := d.engine.Device("plant/lock")
	for _, c := range []*mqttClient{modbus, onvif, app, anonymous} {
		for _, topic := range []string{
			twinOf + "cloud_updated", twinOf + "update/delta", twinOf + "update/result", "$hw/events/node/edge-1/membership/detail/result", "$hw/events/node/edge-1/membership/updated",
		} {
			if code := c.code(t, topic, `{"event_id":"forged","devices":[],"twin":{"target":{"expected":{"value":"99"},"expected_version":{"cloud":999999999,"edge":0}}}}`); code != refused {
				t.Errorf("%s: code %#x", topic, code)
			}
		}
	}
	if code := onvif.code(t, twinOf+"update", `{"twin":{"target":{"actual":{"value":"1"}}}}`); code != refused {
		t.Errorf("a mapper of another protocol: %#x", code)
	}
	if code := app.code(t, "$hw/events/node/edge-1/membership/detail", `{}`); code != refused {
		t.Errorf("an app asks for credentials: %#x", code)
	}
	if after, _ := d.engine.Device("plant/lock"); after.Twins["target"].ExpectedVersion != before.Twins["target"].ExpectedVersion || after.Twins["target"].Expected.Value != before.Twins["target"].Expected.Value {
		t.Errorf("before %+v, after %+v", before.Twins["target"], after.Twins["target"])
	}
	// What each may do works, and brings the answers.
	if code := modbus.code(t, twinOf+"update", `{"event_id":"m","twin":{"target":{"actual":{"value":"44"}}}}`); code >= 0x80 {
		t.Errorf("the mapper reports: %#x", code)
	}
	modbus.until(t, twinOf+"update/result")
	if code := modbus.code(t, "$hw/events/node/edge-1/membership/protocol/modbus/detail", `{}`); code >= 0x80 {
		t.Errorf("the mapper asks for its devices: %#x", code)
	}
	modbus.until(t, "$hw/events/node/edge-1/membership/protocol/modbus/detail/result")
	for _, topic := range []string{"detail", "protocol/modbus/detail"} {
		if code := onvif.code(t, "$hw/events/node/edge-1/membership/"+topic, `{}`); code != refused {
			t.Errorf("a mapper of another protocol asks for %s: %#x", topic, code)
		}
	}
	if code := app.code(t, twinOf+"get", `{"event_id":"a"}`); code >= 0x80 {
		t.Errorf("the app asks: %#x", code)
	}
	for _, m := range app.until(t, twinOf+"get/result") {
		if strings.Contains(string(m.Payload), credentials) {
			t.Errorf("the app got credentials on %s", m.Topic)
		}
	}
	d.lock(t, "plant/camera", "onvif", "1")
	if code := onvif.code(t, "$hw/events/device/plant/camera/twin/update", `{"event_id":"o","twin":{"target":{"actual":{"value":"1"}}}}`); code >= 0x80 {
		t.Errorf("the mapper reports for a device that came now: %#x", code)
	}
	for _, m := range onvif.until(t, "$hw/events/device/plant/camera/twin/update/result") {
		if strings.HasPrefix(m.Topic, "$hw/events/device/plant/lock/") || strings.Contains(string(m.Payload), "modbus") {
			t.Errorf("the mapper of another protocol got %s", m.Topic)
		}
	}
}

// Without any setting, mappers and apps of the host work as with KubeEdge, with or without a
// user name.
func TestMQTTUnchanged(t *testing.T) {
	d := startDevices(t)
	d.lock(t, "plant/lock", "modbus", "45")
	for _, user := range []string{"", "anyone"} {
		c := d.connect(t, user, "$hw/events/node/+/membership/#", twinOf+"update/result", "any/topic")
		for topic, answer := range map[string]string{
			"$hw/events/node/edge-1/membership/get": "$hw/events/node/edge-1/membership/get/result", twinOf + "update": twinOf + "update/result", "any/topic": "any/topic",
		} {
			if code := c.code(t, topic, `{"event_id":"e","twin":{"target":{"actual":{"value":"1"}}}}`); code >= 0x80 {
				t.Errorf("%s: %#x", topic, code)
			}
			c.until(t, answer)
		}
	}
}
