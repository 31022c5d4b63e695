package client_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// receiverDir has the test program be a client of the outside broker whose store is in the folder,
// beside the file "applied" with a line for each message and each connection. With
// receiverDir_INSIDE it is in mode Both, with an embedded broker at that address.
const receiverDir = "EDGEKIT_TEST_RECEIVER_DIR"

// receive applies messages until the program is killed.
func receive(dir, url, inside string) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "store"), Scratch: dir}) // a kill leaves nothing elsewhere
	if err != nil {
		return err
	}
	applied, err := os.OpenFile(filepath.Join(dir, "applied"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{URL: url, ClientID: "node", SessionExpiry: time.Hour, NoLocal: inside != "", Received: metastore.NewReceived(store, "received/")})
	if err != nil {
		return err
	}
	c.NotifyConnect(func() { fmt.Fprintln(applied, "ready") })
	if inside == "" {
		if _, err := c.Subscribe("t/#", func(m bus.Message) { fmt.Fprintf(applied, "%s\n", m.Payload) }); err != nil {
			return err
		}
		return c.Run(context.Background())
	}
	embedded, err := broker.New(broker.Config{Address: inside, Storage: metastore.New(store, "mqtt/")})
	if err != nil {
		return err
	}
	mqtt, err := bus.New(bus.Config{Mode: bus.Both, Internal: embedded, External: c, Bridge: bus.Bridge{In: []string{"t/#"}}})
	if err != nil {
		return err
	}
	return mqtt.Run(context.Background())
}

// step is a packet of QoS 2 on its way between the receiver and its broker.
type step struct {
	kind   byte
	passes bool // before the kill
}

func (s step) String() string {
	return fmt.Sprintf("%s-%v", packets.NewControlPacket(s.kind).PacketType(), s.passes)
}

// gate passes packets between a receiver and its broker, and kills the receiver at one of them.
type gate struct {
	broker string
	kill   func() // the receiver

	mu        sync.Mutex
	armed     *step
	killed    chan struct{} // closed by the kill
	completed int           // PUBCOMP that went to the broker
}

// arm has the gate kill the receiver at the next packet of the step.
func (g *gate) arm(s step) (killed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.killed = &s, make(chan struct{})
	return g.killed
}

func (g *gate) done() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.completed
}

// serve passes the connections of one receiver after the other until l is closed.
func (g *gate) serve(l net.Listener) {
	var pipes sync.WaitGroup
	defer pipes.Wait()
	for {
		inside, err := l.Accept()
		if err != nil {
			return
		}
		outside, err := net.Dial("tcp", g.broker)
		if err != nil {
			inside.Close()
			continue
		}
		for _, from := range []net.Conn{inside, outside} {
			to := outside
			if from == outside {
				to = inside
			}
			pipes.Go(func() {
				defer inside.Close()
				defer outside.Close()
				for in := bufio.NewReader(from); g.pass(in, to) == nil; {
				}
			})
		}
	}
}

var errKilled = errors.New("the receiver is killed")

// pass passes one packet.
func (g *gate) pass(in *bufio.Reader, to net.Conn) error {
	packet, err := readPacket(in)
	if err != nil {
		return err
	}
	kind := packet[0] >> 4
	g.mu.Lock()
	defer g.mu.Unlock()
	hit := g.armed != nil && g.armed.kind == kind
	if !hit || g.armed.passes {
		if _, err := to.Write(packet); err != nil {
			return err
		}
		if kind == packets.PUBCOMP {
			g.completed++
		}
	}
	if hit {
		g.armed = nil
		g.kill()
		close(g.killed)
		return errKilled
	}
	return nil
}

// readPacket reads one packet of MQTT with its header.
func readPacket(in *bufio.Reader) ([]byte, error) {
	kind, err := in.ReadByte()
	if err != nil {
		return nil, err
	}
	packet, size := []byte{kind}, 0
	for shift := 0; ; shift += 7 {
		b, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		packet, size = append(packet, b), size|int(b&0x7f)<<shift
		if b < 0x80 {
			break
		}
	}
	body := make([]byte, size)
	_, err = io.ReadFull(in, body)
	return append(packet, body...), err
}

// TestReceiverKilled kills a client at each step of a message of QoS 2 from a mosquitto with a
// persistent session. Each message is applied once.
func TestReceiverKilled(t *testing.T) {
	dir := t.TempDir()
	killReceiver(t, dir, "", func(text string) int {
		b, err := os.ReadFile(filepath.Join(dir, "applied"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), text+"\n")
	})
}

// TestBridgeKilled does the same to a program in mode Both. A client of its embedded broker gets
// each message once.
func TestBridgeKilled(t *testing.T) {
	inside := bustest.Address(t)
	var local *app
	killReceiver(t, t.TempDir(), inside, func(text string) int {
		if local == nil { // the first message is sent after this
			local = startApp(t, inside, "local")
		}
		return local.count(text)
	})
}

// killReceiver kills the program of the folder at each step. count returns how often a message was applied.
func killReceiver(t *testing.T, dir, inside string, count func(text string) int) {
	outside := startMosquitto(t)
	sender := startApp(t, outside.url, "sender")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var program *exec.Cmd
	kill := func() {
		program.Process.Kill()
		program.Wait()
	}
	g := &gate{broker: strings.TrimPrefix(outside.url, "tcp://"), kill: kill}
	var serving sync.WaitGroup
	serving.Go(func() { g.serve(l) })
	run := func() {
		program = exec.Command(os.Args[0])
		program.Env = append(os.Environ(), receiverDir+"="+dir, receiverDir+"_URL=tcp://"+l.Addr().String(), receiverDir+"_INSIDE="+inside)
		program.Stderr = os.Stderr
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	defer func() {
		l.Close()
		kill()
		serving.Wait()
	}()
	hubtest.Until(t, "the session", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "applied")) // it is not there at once
		return strings.Contains(string(b), "ready\n")
	})
	steps := []step{
		{packets.PUBLISH, false}, {packets.PUBREC, false}, {packets.PUBREC, true},
		{packets.PUBREL, false}, {packets.PUBCOMP, false}, {packets.PUBCOMP, true},
	}
	send := func(text string) {
		if err := sender.mqtt.Publish(t.Context(), bus.Message{Topic: "t/x", Payload: []byte(text), QoS: bus.ExactlyOnce}); err != nil {
			t.Fatal(err)
		}
	}
	count("") // it is ready
	for i, s := range steps {
		hubtest.Until(t, "what was sent before is complete", func() bool { return g.done() == i })
		killed := g.arm(s)
		send(s.String())
		select {
		case <-killed:
		case <-time.After(time.Minute):
			t.Fatalf("no %v", s)
		}
		run()
	}
	send("end")
	hubtest.Until(t, "the last", func() bool { return count("end") > 0 })
	for _, s := range steps {
		if n := count(s.String()); n != 1 {
			t.Errorf("a kill at %v: the message was applied %d times", s, n)
		}
	}
}
