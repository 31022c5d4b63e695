package broker_test

import (
	"context"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// gate is a disk that writes only when it may.
type gate struct {
	disk
	writing chan struct{} // a write waits

	gateMu sync.Mutex
	open   chan struct{} // closed when writes may go on; nil lets them
}

func (g *gate) Apply(ctx context.Context, changes []broker.Record) error {
	g.gateMu.Lock()
	open := g.open
	g.gateMu.Unlock()
	if open != nil {
		select {
		case g.writing <- struct{}{}:
		default: // the test waits for one
		}
		<-open
	}
	return g.disk.Apply(ctx, changes)
}

// hold stops writes until release is called.
func (g *gate) hold() (release func()) {
	open := make(chan struct{})
	g.gateMu.Lock()
	defer g.gateMu.Unlock()
	g.open = open
	return sync.OnceFunc(func() { close(open) })
}

// TestAcknowledgedFirst has a program answer requests that a durable session gets too: a client
// gets the acknowledgement of its request before the answer. Else, when its connection ends
// between the two, it would send a request again that it has the answer to, after the next
// one. The order of a client's messages is kept.
func TestAcknowledgedFirst(t *testing.T) {
	g := &gate{writing: make(chan struct{}, 1)}
	b, _ := start(t, broker.Config{Storage: g})
	asked := make(chan string, 100)
	if _, err := b.Subscribe("ask/#", func(m bus.Message) {
		asked <- string(m.Payload)
		if err := b.Publish(context.Background(), bus.Message{Topic: "answer", Payload: m.Payload}); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	join(t, b.Addr(), connect{id: "kept", keep: true}).subscribe("ask/durable", 1)
	client := join(t, b.Addr(), connect{id: "client"})
	client.subscribe("answer", 0)
	release := g.hold()
	defer release()
	client.publish(publishing{topic: "ask/durable", payload: "1", qos: 1, pid: 1})
	client.publish(publishing{topic: "ask/only", payload: "2", qos: 0})
	client.publish(publishing{topic: "ask/only", payload: "3", qos: 1, pid: 3})
	client.publish(publishing{topic: "ask/durable", payload: "4", qos: 2, pid: 4})
	<-g.writing // the first is on its way to the disk
	client.ping()
	select {
	case text := <-asked:
		t.Errorf("the program got %s before it was acknowledged", text)
	default:
	}
	release()
	expectCalls(t, asked, "1", "2", "3", "4")
	acknowledged := 0
	for answers := 0; answers < 4; {
		switch pk := client.any(); pk.FixedHeader.Type {
		case packets.Puback, packets.Pubrec:
			acknowledged = int(pk.PacketID)
		case packets.Publish:
			answers++
			if n := int(pk.Payload[0] - '0'); n != 2 && acknowledged < n {
				t.Errorf("the answer to %d came before its acknowledgement", n)
			}
		}
	}
}

// TestOldConnectionFirst has a message of a client, or its will, on its way to the program while
// the client comes back with another connection: what it sends there comes after.
func TestOldConnectionFirst(t *testing.T) {
	client := connect{id: "client", keep: true}
	t.Run("message", func(t *testing.T) {
		oldConnectionFirst(t, client, func(old *peer) {
			old.publish(publishing{topic: "a/x", payload: "1", qos: 1, pid: 1})
		})
	})
	client.flags, client.will = 4, append(text("a/x"), text("1")...)
	t.Run("will", func(t *testing.T) {
		oldConnectionFirst(t, client, func(old *peer) { _ = old.conn.Close() })
	})
}

// oldConnectionFirst has client send "1" to a/x with the function send.
func oldConnectionFirst(t *testing.T, client connect, send func(old *peer)) {
	b, _ := start(t, broker.Config{})
	held, release := make(chan struct{}, 10), make(chan struct{})
	open := sync.OnceFunc(func() { close(release) })
	defer open()
	if _, err := b.Subscribe("a/#", func(bus.Message) { held <- struct{}{}; <-release }); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	for _, topic := range []string{"a/x", "b/x"} {
		if _, err := b.Subscribe(topic, func(m bus.Message) { got <- string(m.Payload) }); err != nil {
			t.Fatal(err)
		}
	}
	send(join(t, b.Addr(), client))
	<-held
	done := make(chan struct{})
	go func() {
		defer close(done)
		again := join(t, b.Addr(), connect{id: "client", keep: true})
		again.publish(publishing{topic: "b/x", payload: "2", qos: 1, pid: 2})
		again.expect(packets.Puback)
	}()
	waitForLogin(t, b, done)
	open()
	<-done
	expectCalls(t, got, "1", "2")
}
