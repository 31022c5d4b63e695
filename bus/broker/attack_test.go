package broker_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"runtime"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// heap is the memory in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// TestAttackPrelogin opens 100 connections that announce large packets before their login,
// and send as much as the broker takes. They may hold 10 MiB.
func TestAttackPrelogin(t *testing.T) {
	b, _ := start(t, broker.Config{Authenticate: func(broker.Login) bool { return false }})
	before := heap()
	for i := range 100 {
		p, err := dialRaw(t, b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		switch i % 2 {
		case 0:
			p.send([]byte{0x10, 0xf0, 0xff, 0x3f}) // 1 MiB is announced: refused at once
			p.ends(0)
		case 1:
			p.send(append([]byte{0x10, 0x80, 0xfe, 0x01}, make([]byte, 32000)...)) // 32 KiB less a few bytes
		}
	}
	waitFor(t, func() bool { return b.Stats().Pending <= 50 })
	held := float64(heap()-before) / (1 << 20)
	t.Logf("RESULT attack_mqtt_prelogin_mib %.1f", held)
	if held > 10 {
		t.Errorf("100 connections before login hold %.1f MiB, at most 10 are allowed", held)
	}
}

// TestAttackSockets opens more connections than allowed. Those that are logged in go on.
func TestAttackSockets(t *testing.T) {
	b, _ := start(t, broker.Config{MaxPending: 20, MaxClients: 5})
	p := join(t, b.Addr(), connect{id: "good"})
	for range 100 {
		if _, err := dialRaw(t, b.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, func() bool { return b.Stats().Bounds["pending"] > 0 })
	p.ping()
}

// TestAttackKept fills what is kept for absent clients and as retained messages.
func TestAttackKept(t *testing.T) {
	b, _ := start(t, broker.Config{MaxSessions: 10, MaxSubscriptions: 10, MaxRetained: 10, MaxRetainedBytes: 64 << 10, MaxClients: 3, MaxQueuedBytes: 32 << 10})
	for i := range 30 {
		p := join(t, b.Addr(), connect{id: fmt.Sprint("absent-", i), version: 5, keep: true, expiry: 1000})
		if reduced := p.ack.Properties.SessionExpiryIntervalFlag; reduced != (i >= 10) {
			t.Errorf("client %d: session expiry was reduced: %v", i, reduced)
		}
		p.subscribe("#", 1)
		p.leave()
	}
	p := join(t, b.Addr(), connect{id: "p", version: 5})
	for i := range 20 {
		want := byte(0)
		if i >= 10 {
			want = 0x97
		}
		if code := p.subscribe(fmt.Sprint("s/", i), 0); code != want {
			t.Errorf("subscription %d: %#x", i, code)
		}
	}
	for i := range 30 {
		p.publish(publishing{topic: fmt.Sprint("r/", i), payload: string(make([]byte, 1000)), qos: 1, pid: uint16(i + 1), retain: true})
		p.expect(packets.Puback)
	}
	join(t, b.Addr(), connect{id: "q"})
	join(t, b.Addr(), connect{id: "r"})
	if pk := open(t, b.Addr(), connect{id: "s"}).expect(packets.Connack); pk.ReasonCode != 3 {
		t.Errorf("one client too many: %d", pk.ReasonCode)
	}
	s := b.Stats()
	if s.Sessions != 13 || s.Retained != 10 || s.QueuedBytes > 32<<10 {
		t.Errorf("%+v", s)
	}
	for _, name := range []string{"sessions", "subscriptions", "retained", "queue", "clients"} {
		if s.Bounds[name] == 0 {
			t.Errorf("the limit %s was not reached", name)
		}
	}
}

// rules is an Access: each user has a password like its name, and the topics below it.
type rules struct{}

func (rules) Authenticate(_ context.Context, l broker.Login) (broker.User, error) {
	switch {
	case l.Username == "":
		return broker.User{}, fmt.Errorf("no anonymous clients")
	case string(l.Password) != l.Username:
		return broker.User{}, broker.ErrPassword
	}
	return broker.User{Name: l.Username}, nil
}

func (rules) Allow(u broker.User, topic string, a broker.Action) bool {
	if a == broker.ActionSubscribe && topic == "#" {
		return true // what it receives is checked
	}
	return bytes.HasPrefix([]byte(topic), []byte(u.Name+"/"))
}

// TestAccess applies rules at login, publish, subscribe, delivery and will, in both
// versions of MQTT.
func TestAccess(t *testing.T) {
	for _, version := range []byte{4, 5} {
		b, _ := start(t, broker.Config{Access: rules{}})
		s := &scene{b: b, version: version}
		code := func(v4, v5 byte) byte {
			if version == 4 {
				return v4
			}
			return v5
		}
		user := func(id, name string) connect {
			return connect{id: id, version: version, flags: 0xc0, user: name, password: name, keep: true, expiry: 100}
		}
		if pk := s.open(t, connect{id: "x"}).expect(packets.Connack); pk.ReasonCode != code(5, 0x87) {
			t.Errorf("anonymous: %#x", pk.ReasonCode)
		}
		wrong := user("x", "ann")
		wrong.password = "bob"
		if pk := s.open(t, wrong).expect(packets.Connack); pk.ReasonCode != code(5, 0x86) {
			t.Errorf("wrong password: %#x", pk.ReasonCode)
		}
		ann := s.join(t, user("ann-1", "ann"))
		if pk := s.open(t, user("ann-1", "bob")).expect(packets.Connack); pk.ReasonCode != code(5, 0x87) {
			t.Errorf("another user's client identifier: %#x", pk.ReasonCode)
		}
		gone := user("bob-2", "bob")
		gone.flags |= 4
		gone.will = s.will("ann/will", "x")
		bob := s.join(t, user("bob-1", "bob"))
		for filter, want := range map[string]byte{"ann/#": 0, "bob/#": code(0x80, 0x87), "$share/g/bob/x": code(0x80, 0x87), "#": 0} {
			if got := ann.subscribe(filter, 0); got != want {
				t.Errorf("subscribe to %s: %#x, want %#x", filter, got, want)
			}
		}
		s.join(t, gone).conn.Close() // its will is not allowed
		waitFor(t, func() bool { return b.Stats().Clients == 2 })
		bob.publish(publishing{topic: "ann/x", payload: "not allowed", qos: 1, pid: 1})
		if pk := bob.expect(packets.Puback); pk.ReasonCode != code(0, 0x87) {
			t.Errorf("publish: %#x", pk.ReasonCode)
		}
		bob.publish(publishing{topic: "ann/x", payload: "not allowed", qos: 2, pid: 2})
		bob.expect(packets.Pubrec)
		bob.publish(publishing{topic: "bob/x", payload: "not for ann"})
		denied := int64(4)
		if version == 5 { // a request whose answer would go where bob may not publish
			bob.publish(publishing{topic: "bob/x", payload: "request", qos: 1, pid: 3, props: slices.Concat([]byte{packets.PropResponseTopic}, text("ann/x"))})
			if pk := bob.expect(packets.Puback); pk.ReasonCode != 0x87 {
				t.Errorf("response topic of another: %#x", pk.ReasonCode)
			}
			denied++
		}
		bob.ping()
		ann.publish(publishing{topic: "ann/x", payload: "hers"})
		ann.message("ann/x", "hers", 0)
		ann.ping()
		if d := b.Stats().Denied; d != denied {
			t.Errorf("%d denied", d)
		}
	}
}

// FuzzConnection sends any bytes, after a login or without, while another client works on.
func FuzzConnection(f *testing.F) {
	for _, version := range []byte{3, 4, 5} {
		c := connect{id: "x", version: version}.packet()
		f.Add(c)
		f.Add(slices.Concat(c, frame(0x82, slices.Concat([]byte{0, 1, 0}, text("a/#"), []byte{1})), frame(0x30, slices.Concat(text("a/b"), []byte("x")))))
		f.Add(slices.Concat(c, frame(0x34, slices.Concat(text("a"), []byte{0, 1, 0})), []byte{0x62, 2, 0, 1, 0x40, 2, 0, 1, 0xe0, 0}))
	}
	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0", MaxPacket: 4096})
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(f.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	f.Cleanup(func() { cancel(); <-ended })
	<-b.Ready()
	f.Fuzz(func(t *testing.T, data []byte) {
		conn, err := net.Dial("tcp", b.Addr().String())
		if err != nil {
			t.Skip(err)
		}
		conn.Write(data) // the broker may have closed it
		conn.(*net.TCPConn).CloseWrite()
		buf := make([]byte, 4096)
		for {
			if _, err := conn.Read(buf); err != nil {
				break
			}
		}
		conn.Close()
		if err := b.Publish(t.Context(), bus.Message{Topic: "a/b", QoS: 1}); err != nil {
			t.Fatal(err)
		}
	})
}
