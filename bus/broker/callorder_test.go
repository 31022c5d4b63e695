package broker_test

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// held starts a broker whose storage holds a message "1" of the client c on the topic a. Got has
// what a subscription of the program to # gets.
func held(t *testing.T, c connect) (b *broker.Broker, p *peer, got chan string, release, unsubscribe func()) {
	t.Helper()
	g := &gate{writing: make(chan struct{}, 1)}
	b, _ = start(t, broker.Config{Storage: g})
	got = make(chan string, 10)
	unsubscribe, err := b.Subscribe("#", func(m bus.Message) { got <- string(m.Payload) })
	if err != nil {
		t.Fatal(err)
	}
	join(t, b.Addr(), connect{id: "kept", keep: true}).subscribe("a", 1)
	p = join(t, b.Addr(), c)
	release = g.hold()
	t.Cleanup(release)
	p.publish(publishing{topic: "a", payload: "1", qos: 1, pid: 1})
	<-g.writing
	p.ping()
	return b, p, got, release, unsubscribe
}

// expectCalls checks what the program got, in order.
func expectCalls(t *testing.T, got <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case text := <-got:
			if text != w {
				t.Errorf("the program got %s, want %s", text, w)
			}
		case <-time.After(patience):
			t.Fatalf("the program did not get %s", w)
		}
	}
}

// waitForLogin waits until a client is back, which done says, or waits in its login: one that does
// not wait has time to end.
func waitForLogin(t *testing.T, b *broker.Broker, done <-chan struct{}) {
	t.Helper()
	waits := 0
	hubtest.Until(t, "the client is back, or waits", func() bool {
		select {
		case <-done:
			return true
		default:
		}
		if b.Stats().Pending > 0 {
			waits++
		}
		return waits >= 50
	})
}

// TestEndedSessionFirst has a client whose session ended with its connection come back while its
// earlier message waits for the storage: what it sends now comes after.
func TestEndedSessionFirst(t *testing.T) {
	b, p, got, release, _ := held(t, connect{id: "client"})
	_ = p.conn.Close()
	waitFor(t, func() bool { return b.Stats().Clients == 1 })
	done := make(chan struct{})
	go func() {
		defer close(done)
		again := join(t, b.Addr(), connect{id: "client"})
		again.publish(publishing{topic: "b", payload: "2"})
		again.ping()
	}()
	waitForLogin(t, b, done)
	release()
	<-done
	expectCalls(t, got, "1", "2")
}

// TestWillLast has a client leave while its message waits for the storage: the program gets its
// will after the message.
func TestWillLast(t *testing.T) {
	b, p, got, release, _ := held(t, connect{id: "client", flags: 4, will: append(text("w"), text("will")...)})
	_ = p.conn.Close()
	waitFor(t, func() bool { return b.Stats().Clients == 1 })
	p = join(t, b.Addr(), connect{id: "other"})
	p.ping() // the will was published
	release()
	expectCalls(t, got, "1", "will")
}

// TestStoppedMeanwhile stops a subscription of the program while a message for it waits for the
// storage: it does not get it.
func TestStoppedMeanwhile(t *testing.T) {
	b, p, got, release, unsubscribe := held(t, connect{id: "client"})
	unsubscribe()
	other := make(chan string, 10)
	if _, err := b.Subscribe("b", func(m bus.Message) { other <- string(m.Payload) }); err != nil {
		t.Fatal(err)
	}
	p.publish(publishing{topic: "b", payload: "2"})
	release()
	expectCalls(t, other, "2")
	if len(got) > 0 {
		t.Errorf("a subscription that was stopped got %s", <-got)
	}
}

// TestLoginIsBounded has a client come back while its earlier message waits for a storage that
// does not answer: it is refused after a while, so that it does not hold a place among those
// that log in.
func TestLoginIsBounded(t *testing.T) {
	t.Parallel()
	b, _, got, release, _ := held(t, connect{id: "client"})
	again := open(t, b.Addr(), connect{id: "client"})
	if ack := again.expect(packets.Connack); ack.ReasonCode != 3 { // server unavailable
		t.Errorf("CONNACK has the code %d", ack.ReasonCode)
	}
	release()
	expectCalls(t, got, "1")
	join(t, b.Addr(), connect{id: "client"})
}
