package access_test

import (
	"bufio"
	"context"
	"net"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// site is a broker with users, for the clients of mosquitto.
type site struct {
	b          *broker.Broker
	host, port string
}

// start runs a broker at the address with the rules.
func start(t *testing.T, address string, cfg access.Config) *site {
	t.Helper()
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		t.Skip("mosquitto_pub is not installed: apt-get install mosquitto-clients")
	}
	a := open(t, cfg)
	b, err := broker.New(broker.Config{Address: address, Access: a})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-b.Ready()
	s := &site{b: b, host: "127.0.0.1"}
	_, s.port, err = net.SplitHostPort(b.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a client of mosquitto to its end, and gives what it says.
func (s *site) run(t *testing.T, program string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, append([]string{"-h", s.host, "-p", s.port}, args...)...).CombinedOutput()
	if ctx.Err() != nil {
		t.Fatalf("%s %v did not end: %s", program, args, out)
	}
	return string(out), err
}

// subscribe starts mosquitto_sub, waits until the broker has its subscriptions (it does not
// count shared ones, so one must be another), and gives the
// lines that it prints as "topic payload". It ends after count messages.
func (s *site) subscribe(t *testing.T, filters []string, args ...string) <-chan string {
	t.Helper()
	before := s.b.Stats().Subscriptions
	args = append([]string{"-h", s.host, "-p", s.port, "-v", "-q", "1"}, args...)
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	cmd := exec.CommandContext(t.Context(), "mosquitto_sub", args...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(lines)
		for r := bufio.NewScanner(out); r.Scan(); {
			lines <- r.Text()
		}
		_ = cmd.Wait() // the test kills it
	})
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		reading.Wait()
	})
	wait(t, func() bool { return s.b.Stats().Subscriptions > before })
	return lines
}

// wait waits for a condition.
func wait(t *testing.T, done func() bool) {
	t.Helper()
	hubtest.Until(t, "the condition holds", done)
}

func plant(t *testing.T, cfg access.Config) access.Config {
	cfg.Users = write(t, "users", line(t, "mapper", "secret")+line(t, "app", "secret")+line(t, "operator", "secret"))
	cfg.Rules = write(t, "rules", `users:
- {name: mapper, role: mapper, devices: [plant/*]}
- {name: app, role: app, devices: [plant/lamp]}
- {name: operator, role: admin}
`)
	return cfg
}

const device = "$hw/events/device/plant/"

// Nobody gets in with wrong credentials, with each version of MQTT.
func TestAttackLogin(t *testing.T) {
	s := start(t, "tcp://127.0.0.1:0", plant(t, access.Config{Token: tokens(new(atomic.Int64))}))
	for _, version := range []string{"31", "311", "5"} {
		for _, test := range []struct {
			user, password string
			in             bool
		}{{"mapper", "secret", true}, {"pod", token, true}, {"mapper", "wrong", false}, {"eve", "secret", false}, {"", "", false}, {"pod", "a.b.c", false}} {
			args := []string{"-V", version, "-q", "1", "-t", "nowhere", "-m", "x", "-i", "client-" + test.user}
			if test.user != "" {
				args = append(args, "-u", test.user, "-P", test.password)
			}
			out, err := s.run(t, "mosquitto_pub", args...)
			if (err == nil) != test.in {
				t.Errorf("MQTT %s, user %q with %q: %v: %s", version, test.user, test.password, err, out)
			}
		}
	}
}

// What only edgecore publishes is refused from every client: MQTT 5 clients get reason
// 0x87, older ones an acknowledgement, and it goes nowhere.
func TestAttackForgedTopics(t *testing.T) {
	s := start(t, "tcp://127.0.0.1:0", plant(t, access.Config{Anonymous: true, Node: "edge-1"}))
	var mu sync.Mutex
	var got []string
	stop, err := s.b.Subscribe("$hw/#", func(m bus.Message) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, m.Topic)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	forged := []string{
		device + "lamp/twin/cloud_updated", device + "lamp/twin/update/delta", device + "lamp/twin/update/document",
		device + "lamp/twin/update/result", device + "lamp/state/update/result", "$hw/events/node/edge-1/membership/detail/result",
		"$hw/events/node/edge-1/membership/updated", "$hw/events/node/edge-1/membership/get/result", "$hw/events/connected/edge-1",
	}
	for _, user := range []string{"", "mapper", "app", "operator"} {
		for _, version := range []string{"311", "5"} {
			args := []string{"-V", version, "-m", "x", "-r"}
			if user != "" {
				args = append(args, "-u", user, "-P", "secret")
			}
			for i, topic := range forged {
				out, err := s.run(t, "mosquitto_pub", append(args, "-q", []string{"1", "2"}[i%2], "-t", topic)...)
				if version == "5" && !strings.Contains(out, "Not authorized") {
					t.Errorf("user %q, %s: %v: %s", user, topic, err, out)
				}
			}
		}
		if user == "app" { // nor may it steer a device that is not its own
			if out, _ := s.run(t, "mosquitto_pub", "-V", "5", "-q", "1", "-u", user, "-P", "secret", "-t", device+"pump/twin/update", "-m", "x"); !strings.Contains(out, "Not authorized") {
				t.Errorf("app steers another device: %s", out)
			}
		}
	}
	// A will is a publish too.
	if out, err := s.run(t, "mosquitto_sub", "-u", "app", "-P", "secret", "-t", "x", "-E", "--will-topic", forged[0], "--will-payload", "x"); err != nil {
		t.Errorf("will: %v: %s", err, out)
	}
	if out, err := s.run(t, "mosquitto_pub", "-q", "1", "-u", "app", "-P", "secret", "-t", device+"lamp/twin/update", "-m", "last"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	wait(t, func() bool { mu.Lock(); defer mu.Unlock(); return len(got) > 0 })
	mu.Lock()
	defer mu.Unlock()
	if len(got) != 1 || got[0] != device+"lamp/twin/update" {
		t.Errorf("the node got %v", got)
	}
}

// A wildcard brings only what the user may read, also of retained messages and in shared
// subscriptions.
func TestAttackWildcards(t *testing.T) {
	s := start(t, "tcp://127.0.0.1:0", plant(t, access.Config{Node: "edge-1"}))
	const credentials = "$hw/events/node/edge-1/membership/detail/result"
	publish := func(topic string, retain bool) {
		t.Helper()
		if err := s.b.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte("hunter2"), QoS: bus.AtLeastOnce, Retain: retain}); err != nil {
			t.Fatal(err)
		}
	}
	publish(credentials, true)
	publish(device+"pump/twin/update/document", true)
	publish(device+"lamp/twin/update/document", true)
	all := []string{"$hw/#", "#", "$hw/+/+/+/membership/#"}
	one := s.subscribe(t, all, "-u", "app", "-P", "secret", "-C", "2")
	shared := s.subscribe(t, []string{"nothing/#", "$share/g/$hw/#"}, "-u", "app", "-P", "secret", "-V", "5", "-C", "1")
	mapper := s.subscribe(t, all, "-u", "mapper", "-P", "secret", "-C", "6")
	publish(credentials, false)
	publish("$hw/events/node/edge-1/membership/updated", false)
	publish(device+"pump/twin/update/delta", false)
	publish(device+"lamp/twin/update/delta", false)
	collect := func(lines <-chan string) (all []string) {
		for l := range lines {
			topic, _, _ := strings.Cut(l, " ")
			all = append(all, strings.TrimPrefix(topic, "$hw/events/"))
		}
		return all
	}
	if got := strings.Join(collect(one), " "); got != "device/plant/lamp/twin/update/document device/plant/lamp/twin/update/delta" {
		t.Errorf("the app got %s", got)
	}
	if got := strings.Join(collect(shared), " "); got != "device/plant/lamp/twin/update/delta" {
		t.Errorf("the app's shared subscription got %s", got)
	}
	if got := collect(mapper); len(got) != 6 {
		t.Errorf("the mapper got %v", got)
	}
	if out, err := s.run(t, "mosquitto_sub", "-V", "5", "-u", "app", "-P", "secret", "-t", credentials, "-C", "1", "-W", "30"); !strings.Contains(out, "denied") {
		t.Errorf("a subscription to the credentials alone: %v: %s", err, out)
	}
}

// Who joins the group of a shared subscription takes nothing away that it may not read.
func TestAttackSharedGroup(t *testing.T) {
	s := start(t, "tcp://127.0.0.1:0", plant(t, access.Config{Node: "edge-1"}))
	shared := []string{"nothing/#", "$share/g/$hw/#"}
	s.subscribe(t, shared, "-u", "app", "-P", "secret", "-V", "5")
	mapper := s.subscribe(t, shared, "-u", "mapper", "-P", "secret", "-V", "5", "-C", "10")
	for range 10 {
		if err := s.b.Publish(t.Context(), bus.Message{Topic: device + "pump/twin/update/delta", Payload: []byte("x"), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		select {
		case <-mapper:
		case <-t.Context().Done():
		}
	}
}

// A session belongs to its user: another one does not get its messages by taking its client id.
func TestAttackTakeOver(t *testing.T) {
	s := start(t, "tcp://127.0.0.1:0", plant(t, access.Config{Anonymous: true}))
	mapper := s.subscribe(t, []string{device + "lock/twin/update/delta"}, "-u", "mapper", "-P", "secret", "-i", "mapper-1", "-c", "-C", "1")
	for _, args := range [][]string{{"-u", "app", "-P", "secret"}, {"-u", "operator", "-P", "secret"}, nil} {
		for _, version := range []string{"311", "5"} {
			out, err := s.run(t, "mosquitto_sub", append(args, "-V", version, "-i", "mapper-1", "-c", "-t", "x", "-E")...)
			if err == nil || !strings.Contains(strings.ToLower(out), "not authori") {
				t.Errorf("%v with MQTT %s: %v: %s", args, version, err, out)
			}
		}
	}
	if n := s.b.Stats().TakeOvers; n != 0 {
		t.Errorf("%d sessions were taken over", n)
	}
	if err := s.b.Publish(t.Context(), bus.Message{Topic: device + "lock/twin/update/delta", Payload: []byte("pin=1234"), QoS: bus.AtLeastOnce}); err != nil {
		t.Fatal(err)
	}
	if got := <-mapper; !strings.HasSuffix(got, "pin=1234") {
		t.Errorf("the mapper got %q", got)
	}
	// Also while it is away.
	wait(t, func() bool { return s.b.Stats().Clients == 0 })
	if out, err := s.run(t, "mosquitto_sub", "-u", "app", "-P", "secret", "-i", "mapper-1", "-c", "-t", "x", "-E"); err == nil {
		t.Errorf("the session of an absent client: %s", out)
	}
}

// One listener at all addresses: who comes from loopback needs no user, everyone else does.
func TestAttackRemoteAnonymous(t *testing.T) {
	s := start(t, "tcp://:0", access.Config{Anonymous: true, Token: tokens(new(atomic.Int64))})
	publish := func(args ...string) error {
		_, err := s.run(t, "mosquitto_pub", append(args, "-q", "1", "-t", "plant/x", "-m", "x")...)
		return err
	}
	if err := publish(); err != nil {
		t.Errorf("on loopback: %v", err)
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	s.host = ""
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() && network.IP.To4() != nil {
			s.host = network.IP.String()
		}
	}
	if s.host == "" {
		t.Skip("this machine has no address besides loopback")
	}
	if err := publish(); err == nil {
		t.Error("a client at the machine's address got in without a user")
	}
	if err := publish("-u", "pod", "-P", token); err != nil {
		t.Errorf("with a token: %v", err)
	}
}
