package client_test

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// memory is a broker.Storage in memory.
type memory struct {
	mu   sync.Mutex
	data map[string][]byte
}

func (m *memory) Apply(_ context.Context, changes []broker.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		if c.Value == nil {
			delete(m.data, c.Key)
		} else {
			m.data[c.Key] = slices.Clone(c.Value)
		}
	}
	return nil
}

func (m *memory) Load(context.Context) iter.Seq2[broker.Record, error] {
	return func(yield func(broker.Record, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(m.data)) {
			if !yield(broker.Record{Key: key, Value: m.data[key]}, nil) {
				return
			}
		}
	}
}

// copy is what the storage holds now: that of a program that is killed.
func (m *memory) copy() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{data: maps.Clone(m.data)}
}

// messages is how many messages the storage holds.
func (m *memory) messages() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.data {
		if strings.HasPrefix(key, "m/") {
			n++
		}
	}
	return n
}

// mosquitto is a real outside broker.
type mosquitto struct {
	t    *testing.T
	url  string
	conf string
	cmd  *exec.Cmd
}

func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("mosquitto is not installed: apt-get install mosquitto")
	}
	dir := t.TempDir()
	url := bustest.Address(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(url, "tcp://"), ":")
	m := &mosquitto{t: t, url: url, conf: filepath.Join(dir, "mosquitto.conf")}
	conf := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location %s/\nautosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\nmax_inflight_messages 0\n", port, dir)
	if err := os.WriteFile(m.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command("mosquitto", "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mosquitto) signal(s os.Signal) {
	m.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// kill is kill -9.
func (m *mosquitto) kill() {
	_ = m.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

// tally counts messages by their payload.
type tally struct {
	mu  sync.Mutex
	got map[string]int
}

func (c *tally) add(_ context.Context, m bus.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.got == nil {
		c.got = make(map[string]int)
	}
	c.got[string(m.Payload)]++
}

// has reports whether all messages with the name are there.
func (c *tally) has(name string, count int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range count {
		if c.got[fmt.Sprint(name, i)] == 0 {
			return false
		}
	}
	return true
}

// count is how often a message came.
func (c *tally) count(payload string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.got[payload]
}

// doubled counts the copies that are too many.
func (c *tally) doubled(name string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for payload, times := range c.got {
		if strings.HasPrefix(payload, name) {
			n += times - 1
		}
	}
	return n
}

// app is a client of a broker that publishes to, and counts what comes from, t/#.
type app struct {
	*tally
	mqtt *bus.Bus
}

func startApp(t *testing.T, url, id string) *app {
	t.Helper()
	c, err := client.New(client.Config{URL: url, ClientID: id, SessionExpiry: time.Hour, NoLocal: true, Queue: 10_000})
	if err != nil {
		t.Fatal(err)
	}
	mqtt, err := bus.New(bus.Config{Mode: bus.External, External: c})
	if err != nil {
		t.Fatal(err)
	}
	a := &app{tally: &tally{}, mqtt: mqtt}
	if _, err := mqtt.Subscribe("t/#", a.add); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(runBus(t, mqtt))
	<-mqtt.Ready()
	return a
}

func (a *app) publish(t *testing.T, name string, count int, qos bus.QoS) {
	t.Helper()
	for i := range count {
		if err := a.mqtt.Publish(t.Context(), bus.Message{Topic: "t/x", Payload: fmt.Append(nil, name, i), QoS: qos}); err != nil {
			t.Fatal(err)
		}
	}
}

func runBus(t *testing.T, b *bus.Bus) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// node is the program: both brokers with a bridge.
type node struct {
	*tally
	mqtt   *bus.Bus
	inside *broker.Broker
	stop   func()
}

func startNode(t *testing.T, inside, outside string, d *memory) *node {
	t.Helper()
	b, err := broker.New(broker.Config{Address: inside, Storage: d})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: outside, ClientID: "node", SessionExpiry: time.Hour, NoLocal: true, Keepalive: 10 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{tally: &tally{}, inside: b}
	n.mqtt, err = bus.New(bus.Config{Mode: bus.Both, Internal: b, External: c, Bridge: bus.Bridge{In: []string{"t/#"}, Out: []string{"t/#"}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.mqtt.Subscribe("t/#", n.add); err != nil {
		t.Fatal(err)
	}
	n.stop = runBus(t, n.mqtt)
	t.Cleanup(n.stop)
	select {
	case <-b.Ready():
	case <-t.Context().Done():
	}
	return n
}

// TestBridge passes messages of one topic both ways between the embedded broker and a mosquitto
// that is stopped and killed meanwhile.
func TestBridge(t *testing.T) {
	const count = 300
	outside := startMosquitto(t)
	address := bustest.Address(t)
	d := &memory{data: map[string][]byte{}}
	n := startNode(t, address, outside.url, d)
	<-n.mqtt.Ready()
	cloud := startApp(t, outside.url, "cloud")
	local := startApp(t, address, "local")

	everywhere := func(name string, all ...*tally) {
		t.Helper()
		for i, c := range all {
			hubtest.Until(t, fmt.Sprint(name, " at ", i), func() bool { return c.has(name, count) })
		}
	}
	// Each message comes once to each that subscribes, and not back to who sent it.
	for _, qos := range []bus.QoS{bus.AtLeastOnce, bus.ExactlyOnce} { // QoS 0 may be lost
		out, in, own := fmt.Sprint("out", qos, "-"), fmt.Sprint("in", qos, "-"), fmt.Sprint("own", qos, "-")
		local.publish(t, out, count, qos)
		cloud.publish(t, in, count, qos)
		for i := range count {
			if err := n.mqtt.Publish(t.Context(), bus.Message{Topic: "t/y", Payload: fmt.Append(nil, own, i), QoS: qos}); err != nil {
				t.Fatal(err)
			}
		}
		everywhere(out, cloud.tally, n.tally)
		everywhere(in, local.tally, n.tally)
		everywhere(own, cloud.tally, local.tally, n.tally)
	}

	// The outside broker hangs.
	outside.signal(syscall.SIGSTOP)
	local.publish(t, "stop-", count, bus.AtLeastOnce)
	everywhere("stop-", n.tally)
	outside.signal(syscall.SIGCONT)
	everywhere("stop-", cloud.tally)
	for _, c := range []*tally{cloud.tally, local.tally, n.tally} {
		if doubled := c.doubled(""); doubled > 0 {
			t.Errorf("%d messages came twice", doubled)
		}
	}
	if local.has("out1-", 1) || cloud.has("in1-", 1) {
		t.Error("messages came back")
	}

	// It is killed, and the program too while the outside broker is away. What was under way
	// may come twice, as QoS 1 says; nothing is lost.
	outside.kill()
	local.publish(t, "killed-", count, bus.AtLeastOnce)
	everywhere("killed-", n.tally)
	hubtest.Until(t, "the commit", func() bool { return d.messages() >= count })
	left := d.copy()
	n.stop()
	n = startNode(t, address, outside.url, left)
	local.publish(t, "later-", count, bus.AtLeastOnce)
	everywhere("later-", n.tally)
	outside.start()
	everywhere("killed-", cloud.tally)
	everywhere("later-", cloud.tally)
	if doubled := cloud.doubled("later-"); doubled > 0 {
		t.Errorf("%d messages that waited came twice", doubled)
	}
}
