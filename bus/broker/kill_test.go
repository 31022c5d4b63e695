package broker_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// killDir has the test program serve as a broker whose store is in the folder.
const killDir = "EDGEKIT_TEST_BROKER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		if err := serve(dir, os.Getenv(killDir+"_ADDRESS")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func serve(dir, address string) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir, KeyFile: dir + ".key"})
	if err != nil {
		return err
	}
	b, err := broker.New(broker.Config{Address: address, Storage: metastore.New(store, "mqtt/")})
	if err != nil {
		return err
	}
	return b.Run(context.Background())
}

// TestKill kills a broker again and again while two clients publish with QoS 1 and 2 to a
// persistent session. Nothing that was acknowledged is lost, and nothing of QoS 2 comes
// twice.
func TestKill(t *testing.T) {
	const each, kills = 400, 6
	dir, address := t.TempDir()+"/store", bustest.Address(t)
	var program *exec.Cmd
	startProgram := func() {
		program = exec.Command(os.Args[0])
		program.Env = append(os.Environ(), killDir+"="+dir, killDir+"_ADDRESS="+address)
		program.Stderr = os.Stderr
		if err := program.Start(); err != nil {
			t.Fatal(err)
		}
	}
	kill := func() {
		program.Process.Kill()
		program.Wait()
	}
	startProgram()
	defer func() { kill() }()
	host := strings.TrimPrefix(address, "tcp://")

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	got := &collected{seen: make(map[string]int)}
	subscribed := make(chan struct{})
	var clients, publishers sync.WaitGroup
	clients.Go(func() { (&resilient{ctx: ctx, addr: host, id: "sub"}).receive(got, 2*each, subscribed) })
	select {
	case <-subscribed:
	case <-ctx.Done():
		t.Fatal("not subscribed in time")
	}
	progress := make(chan struct{}, 2*each)
	for _, qos := range []byte{1, 2} {
		publishers.Go(func() {
			(&resilient{ctx: ctx, addr: host, id: fmt.Sprintf("pub-%d", qos)}).publish(qos, each, progress)
		})
	}
	for i := range kills {
		for range rand.N(each/kills) + 1 {
			select {
			case <-progress:
			case <-ctx.Done():
				t.Fatalf("no progress before kill %d", i)
			}
		}
		kill()
		startProgram()
	}
	publishers.Wait()
	clients.Wait()
	lost, doubled := 0, 0
	for qos := 1; qos <= 2; qos++ {
		for i := range each {
			n := got.seen[fmt.Sprintf("%d/%d", qos, i)]
			if n == 0 {
				lost++
			}
			if n > 1 && qos == 2 {
				doubled++
			}
		}
	}
	t.Logf("RESULT bus_lost %d", lost)
	t.Logf("RESULT bus_doubled %d", doubled)
	if lost > 0 || doubled > 0 {
		t.Errorf("%d of %d lost, %d of QoS 2 came twice", lost, 2*each, doubled)
	}
}

// collected is what the subscriber has seen.
type collected struct{ seen map[string]int }

// resilient is a client with a persistent session that connects again until its work is
// done.
type resilient struct {
	ctx  context.Context
	addr string
	id   string
	conn net.Conn
	in   *bufio.Reader
}

// connect dials until a broker answers.
func (r *resilient) connect() bool {
	for r.ctx.Err() == nil {
		if r.conn != nil {
			r.conn.Close()
		}
		conn, err := net.Dial("tcp", r.addr)
		if err == nil {
			r.conn, r.in = conn, bufio.NewReader(conn)
			conn.SetDeadline(time.Now().Add(patience))
			conn.Write(connect{id: r.id, keep: true}.packet())
			if pk, err := readPacket(r.in, 4); err == nil && pk.FixedHeader.Type == packets.Connack && pk.ReasonCode == 0 {
				return true
			}
		}
		pause, cancel := context.WithTimeout(r.ctx, 20*time.Millisecond)
		<-pause.Done()
		cancel()
	}
	return false
}

func (r *resilient) ack(kind byte, pid uint16) {
	first := kind << 4
	if kind == packets.Pubrel {
		first |= 2
	}
	r.conn.Write(binary.BigEndian.AppendUint16([]byte{first, 2}, pid)) // an error shows at the next read
}

// publish publishes n messages of one QoS, up to ten in flight.
func (r *resilient) publish(qos byte, n int, progress chan<- struct{}) {
	const window = 10
	next := 0
	flight := make(map[uint16]string) // by packet identifier; of QoS 2 "" when it is received
	send := func(pid uint16, payload string, dup byte) {
		body := append(binary.BigEndian.AppendUint16(text("kill/t"), pid), payload...)
		r.conn.Write(frame(0x30|qos<<1|dup, body))
	}
	for r.connect() {
		for pid, payload := range flight {
			if payload == "" {
				r.ack(packets.Pubrel, pid)
			} else {
				send(pid, payload, 8)
			}
		}
		for {
			for len(flight) < window && next < n {
				pid := uint16(next%1000 + 1)
				flight[pid] = fmt.Sprintf("%d/%d", qos, next)
				send(pid, flight[pid], 0)
				next++
			}
			if len(flight) == 0 {
				r.conn.Close()
				return
			}
			pk, err := readPacket(r.in, 4)
			if err != nil {
				break
			}
			switch pk.FixedHeader.Type {
			case packets.Pubrec:
				if _, ok := flight[pk.PacketID]; ok {
					flight[pk.PacketID] = ""
				}
				r.ack(packets.Pubrel, pk.PacketID)
			case packets.Puback, packets.Pubcomp:
				delete(flight, pk.PacketID)
				progress <- struct{}{}
			}
		}
	}
}

// receive collects messages until it has n different ones and all exchanges are done.
func (r *resilient) receive(got *collected, n int, subscribed chan<- struct{}) {
	open := make(map[uint16]bool) // QoS 2 identifiers that are not released
	first := true
	for r.connect() {
		if first {
			r.conn.Write(frame(0x82, append(append([]byte{0, 1}, text("kill/#")...), 2)))
		}
		for len(got.seen) < n || len(open) > 0 {
			pk, err := readPacket(r.in, 4)
			if err != nil {
				break
			}
			switch pk.FixedHeader.Type {
			case packets.Suback:
				if first {
					close(subscribed)
				}
				first = false
			case packets.Publish:
				if pk.FixedHeader.Qos == 1 {
					got.seen[string(pk.Payload)]++
					r.ack(packets.Puback, pk.PacketID)
					continue
				}
				if !open[pk.PacketID] {
					open[pk.PacketID] = true
					got.seen[string(pk.Payload)]++
				}
				r.ack(packets.Pubrec, pk.PacketID)
			case packets.Pubrel:
				delete(open, pk.PacketID)
				r.ack(packets.Pubcomp, pk.PacketID)
			}
		}
		if len(got.seen) >= n && len(open) == 0 {
			r.conn.Close()
			return
		}
	}
}
