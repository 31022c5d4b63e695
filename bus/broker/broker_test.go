package broker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/hub/hubtest"
)

func TestTransport(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return bustest.Subject{Transport: b}
	})
}

// start runs a broker until the test ends or stop is called.
func start(t testing.TB, cfg broker.Config) (b *broker.Broker, stop func()) {
	t.Helper()
	if cfg.Address == "" {
		cfg.Address = "tcp://127.0.0.1:0"
	}
	b, err := broker.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return b, stop
}

func TestAddressInUse(t *testing.T) {
	b, _ := start(t, broker.Config{})
	second, err := broker.New(broker.Config{Address: "tcp://" + b.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	err = second.Run(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), b.Addr().String()) || strings.Contains(err.Error(), "\n") {
		t.Errorf("got %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []broker.Config{
		{Address: "127.0.0.1:1884"}, {Address: "tcp://127.0.0.1"}, {Address: "ws://a:1"}, {Address: "tls://a:1"}, {Address: "tcp://0.0.0.0:1884"}, {Listen: []string{"unix://"}},
		{Access: anyone{}, Authenticate: func(broker.Login) bool { return true }}, {MaxQueue: -1},
		{MaxInflight: 70000}, {MaxPacket: -1}, {SessionExpiry: -1},
	} {
		if _, err := broker.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

// TestSilentConnection connects without a word; the broker ends all the same.
func TestSilentConnection(t *testing.T) {
	b, stop := start(t, broker.Config{})
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stop()
}

// dial connects a raw client, which the tests need to misbehave. paho's
// packets are only on the way in: this side reads when it likes.
func dial(t *testing.T, b *broker.Broker, id string, clean bool) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	flags := byte(0)
	if clean {
		flags = 2
	}
	// CONNECT of MQTT 3.1.1 with keepalive 60 s.
	body := append([]byte{0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 60, 0, byte(len(id))}, id...)
	write(t, conn, 0x10, body)
	read(t, conn, 0x20)
	return conn
}

func write(t *testing.T, conn net.Conn, kind byte, body []byte) {
	t.Helper()
	if _, err := conn.Write(append([]byte{kind, byte(len(body))}, body...)); err != nil {
		t.Fatal(err)
	}
}

// read reads one packet of at most 127 bytes, which must be of the kind.
func read(t *testing.T, conn net.Conn, kind byte) []byte {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(time.Minute))
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1])
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	if head[0]&0xf0 != kind {
		t.Fatalf("packet of kind %#x, want %#x", head[0], kind)
	}
	return body
}

// subscribe subscribes to topic with QoS 1.
func subscribe(t *testing.T, conn net.Conn, topic string) {
	t.Helper()
	write(t, conn, 0x82, append(append([]byte{0, 1, 0, byte(len(topic))}, topic...), 1))
	read(t, conn, 0x90)
}

// TestResumeOrder has a client away while messages come; all of them are
// there when it returns, in their order.
func TestResumeOrder(t *testing.T) {
	b, _ := start(t, broker.Config{MaxInflight: 300})
	conn := dial(t, b, "mapper", false)
	subscribe(t, conn, "a")
	conn.Close()
	for i := range 250 {
		if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: fmt.Appendf(nil, "%03d", i), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the second time nothing is acknowledged yet
		conn = dial(t, b, "mapper", false)
		for i := range 250 {
			body := read(t, conn, 0x30)
			if got := string(body[len(body)-3:]); got != fmt.Sprintf("%03d", i) {
				t.Fatalf("message %d is %s", i, got)
			}
		}
		conn.Close()
	}
}

// TestStuckSubscriber has a client that does not read. The other subscriber gets
// everything at once. The stuck one stays connected, and gets everything of QoS 1 when it
// reads again; what is over its bound is dropped and counted.
func TestStuckSubscriber(t *testing.T) {
	b, _ := start(t, broker.Config{MaxInflight: 200, MaxQueue: 1000, MaxQueueBytes: 64 << 20, MaxQueuedBytes: 128 << 20, WriteBuffer: 64 << 10})
	var got atomic.Int64
	if _, err := b.Subscribe("a", func(bus.Message) { got.Add(1) }); err != nil {
		t.Fatal(err)
	}
	stuck := dial(t, b, "stuck", true)
	subscribe(t, stuck, "a")
	payload := make([]byte, 100)
	for i := range 1500 {
		copy(payload, fmt.Sprintf("%04d", i))
		for qos := range bus.ExactlyOnce {
			if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: payload, QoS: qos}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got.Load() != 3000 {
		t.Errorf("the other subscriber got %d of 3000", got.Load())
	}
	for want := 0; want < 1000; {
		body := read(t, stuck, 0x30)
		if len(body) == 3+len(payload) {
			continue // QoS 0
		}
		if n := string(body[5:9]); n != fmt.Sprintf("%04d", want) {
			t.Fatalf("message %s, want %d", n, want)
		}
		write(t, stuck, 0x40, body[3:5])
		want++
	}
	s := b.Stats()
	if s.Bounds["queue"] != 500 || s.Dropped < 500 || s.Clients != 1 {
		t.Errorf("%+v", s)
	}
}

// anyone is an Access that lets everybody do everything.
type anyone struct{}

func (anyone) Authenticate(context.Context, broker.Login) (broker.User, error) {
	return broker.User{}, nil
}
func (anyone) Allow(broker.User, string, broker.Action) bool { return true }

func TestAuthenticate(t *testing.T) {
	b, _ := start(t, broker.Config{Authenticate: broker.Passwords(map[string]string{"mapper": "secret"})})
	for password, want := range map[string]byte{"secret": 0, "wrong!": 5} { // 5: MQTT 3.1.1, not authorized
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body := []byte{0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 60, 0, 1, 'x', 0, 6}
		body = append(append(append(body, "mapper"...), 0, byte(len(password))), password...)
		write(t, conn, 0x10, body)
		if got := read(t, conn, 0x20)[1]; got != want {
			t.Errorf("password %s: return code %d, want %d", password, got, want)
		}
		conn.Close()
	}
}

// TestMosquitto talks to the broker with mosquitto's clients, in both versions
// of MQTT.
func TestMosquitto(t *testing.T) {
	for _, tool := range []string{"mosquitto_sub", "mosquitto_pub"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed (apt-get install mosquitto-clients)", tool)
		}
	}
	b, _ := start(t, broker.Config{})
	host, port, err := net.SplitHostPort(b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Publish(t.Context(), bus.Message{Topic: "home/kept", Payload: []byte("0"), Retain: true}); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"mqttv311", "mqttv5"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		sub := exec.CommandContext(ctx, "mosquitto_sub", "-h", host, "-p", port, "-V", version, "-q", "1", "-t", "home/#", "-C", "102")
		var out strings.Builder
		sub.Stdout = &out
		before := b.Stats().Sent
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		// The retained message proves that the subscription stands; more than
		// mosquitto's receive maximum of 20 follow at once.
		hubtest.Until(t, "the retained message is sent", func() bool { return b.Stats().Sent > before })
		pub := exec.CommandContext(ctx, "mosquitto_pub", "-h", host, "-p", port, "-V", version, "-q", "1", "-t", "home/mosquitto", "-m", "hello")
		if text, err := pub.CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v: %s", err, text)
		}
		for i := range 100 {
			if err := b.Publish(ctx, bus.Message{Topic: "home/own", Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		}
		if err := sub.Wait(); err != nil {
			t.Fatalf("mosquitto_sub %s: %v, after\n%s", version, err, out.String())
		}
		// Each publisher's messages come in order; of two there is none.
		want := []string{"0"}
		for i := range 100 {
			want = append(want, strconv.Itoa(i))
		}
		lines := strings.Fields(out.String())
		hello := slices.Index(lines, "hello")
		if hello < 0 || !slices.Equal(slices.Delete(slices.Clone(lines), hello, hello+1), want) {
			t.Errorf("%s: got %d lines: %v", version, len(lines), lines)
		}
	}
}

func Example() {
	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready() // clients may now connect to b.Addr()
	if _, err := b.Subscribe("home/#", func(m bus.Message) { fmt.Printf("%s: %s\n", m.Topic, m.Payload) }); err != nil {
		fmt.Println(err)
	}
	if err := b.Publish(ctx, bus.Message{Topic: "home/lamp", Payload: []byte("on")}); err != nil {
		fmt.Println(err)
	}
	cancel()
	fmt.Println(<-ended)
	// Output:
	// home/lamp: on
	// <nil>
}

// TestBothModes runs the suite on an embedded and an outside broker at once.
func TestBothModes(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		outside, _ := start(t, broker.Config{})
		inside, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{URL: "tcp://" + outside.Addr().String(), NoLocal: true})
		if err != nil {
			t.Fatal(err)
		}
		both, err := bus.New(bus.Config{Mode: bus.Both, Internal: inside, External: c})
		if err != nil {
			t.Fatal(err)
		}
		return bustest.Subject{Transport: asTransport{both}}
	})
}

// asTransport lets the suite run on a Bus.
type asTransport struct{ *bus.Bus }

func (b asTransport) Subscribe(filter string, deliver func(bus.Message)) (func(), error) {
	return b.Bus.Subscribe(filter, func(_ context.Context, m bus.Message) { deliver(m) })
}
