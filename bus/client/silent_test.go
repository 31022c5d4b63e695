package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// TestSilentBroker has a broker that takes the connection, answers pings and no SUBSCRIBE: the
// client connects again and subscribes again.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	subscribed := make(chan int, 10)
	served := make(chan struct{})
	go func() {
		defer close(served)
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveSilently(conn, n, subscribed)
		}
	}()
	c, err := New(Config{URL: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe("a/#", func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for want := 1; want <= 2; want++ {
		if n := <-subscribed; n != want {
			t.Errorf("SUBSCRIBE on connection %d, want %d", n, want)
		}
	}
	<-c.Ready()
	cancel()
	l.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-served
}

// TestStopWhileEnding has a broker that does not answer UNSUBSCRIBE: the stop of a subscription
// returns when Run ends, not after packetTimeout.
func TestStopWhileEnding(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	asked, served := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for {
			p, err := packets.ReadPacket(conn)
			if err != nil {
				return
			}
			switch p.Type {
			case packets.CONNECT:
				_, _ = packets.NewControlPacket(packets.CONNACK).WriteTo(conn) // a failure ends the next read
			case packets.SUBSCRIBE:
				answer := packets.NewControlPacket(packets.SUBACK)
				ack := answer.Content.(*packets.Suback)
				ack.PacketID, ack.Reasons = p.PacketID(), []byte{2}
				_, _ = answer.WriteTo(conn)
			case packets.UNSUBSCRIBE:
				close(asked)
			}
		}
	}()
	c, err := New(Config{URL: "tcp://" + l.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	stop, err := c.Subscribe("a/#", func(bus.Message) {})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-c.Ready()
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	<-asked
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	start := time.Now()
	<-stopped
	if waited := time.Since(start); waited > packetTimeout/2 {
		t.Errorf("stop returned %v after Run", waited)
	}
	<-served
}

// serveSilently serves one connection until it ends. It answers SUBSCRIBE on the second only.
func serveSilently(conn net.Conn, n int, subscribed chan<- int) {
	defer conn.Close()
	for {
		p, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		var answer *packets.ControlPacket
		switch p.Type {
		case packets.CONNECT:
			answer = packets.NewControlPacket(packets.CONNACK)
		case packets.PINGREQ:
			answer = packets.NewControlPacket(packets.PINGRESP)
		case packets.SUBSCRIBE:
			subscribed <- n
			if n == 1 {
				continue
			}
			answer = packets.NewControlPacket(packets.SUBACK)
			ack := answer.Content.(*packets.Suback)
			ack.PacketID, ack.Reasons = p.PacketID(), []byte{2}
		default:
			continue
		}
		if _, err := answer.WriteTo(conn); err != nil {
			return
		}
	}
}

// TestUnacknowledged has a message that the broker does not acknowledge for longer than it may.
func TestUnacknowledged(t *testing.T) {
	c, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c.raw = ours
	c.setStatus("", nil)
	now := time.Now()
	closed := func() bool {
		if err := ours.SetDeadline(now); err != nil {
			return errors.Is(err, io.ErrClosedPipe)
		}
		return false
	}
	c.checkAnswers(now.Add(2 * answerTimeout))
	if closed() {
		t.Error("reconnects though nothing waits")
	}
	c.session.unacked = []unacked{{sent: now}}
	c.checkAnswers(now.Add(answerTimeout / 2))
	if closed() {
		t.Error("reconnects too soon")
	}
	c.checkAnswers(now.Add(2 * answerTimeout))
	if !closed() {
		t.Error("does not reconnect")
	}
}

// TestStatus names the reason for which there is no connection.
func TestStatus(t *testing.T) {
	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0", Authenticate: broker.Passwords(map[string]string{"edge": "secret"})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	for _, test := range []struct {
		cfg    Config
		reason string
	}{
		{Config{URL: "tcp://" + b.Addr().String(), Username: "edge", Password: []byte("secret")}, ""},
		{Config{URL: "tcp://" + b.Addr().String(), Username: "edge", Password: []byte("wrong")}, ReasonBadCredentials},
		{Config{URL: "tcp://" + nobody}, ReasonUnreachable},
		{Config{URL: "tls://" + b.Addr().String(), TLS: &tls.Config{MinVersion: tls.VersionTLS12}}, ReasonTLSFailed},
	} {
		c, err := New(test.cfg)
		if err != nil {
			t.Fatal(err)
		}
		clientCtx, stop := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- c.Run(clientCtx) }()
		s := c.Status()
		for s.Since.IsZero() || s.Reason == ReasonStarting {
			s = c.Status()
		}
		if s.Reason != test.reason || s.Connected != (test.reason == "") || (s.Err == nil) != s.Connected {
			t.Errorf("%s: %+v, want %q", test.cfg.URL, s, test.reason)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
