package broker_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// benchPayload is the size of the messages of the benchmarks.
const benchPayload = 64

// flow sends n messages from one publisher to one subscriber over sockets and returns when the
// subscriber has them. Of QoS 0 the publisher stays at most behind messages ahead, so that
// none is dropped; of QoS 1 it has at most behind unacknowledged.
func flow(b testing.TB, addr net.Addr, qos byte, n, behind int) {
	sub := join(b, addr, connect{id: "bench-sub"})
	sub.subscribe("bench/t", qos)
	pub := join(b, addr, connect{id: "bench-pub"})
	free := make(chan int, n) // messages that may be sent
	free <- behind
	var both sync.WaitGroup
	both.Go(func() { drain(sub, qos, n, free) })
	if qos > 0 {
		both.Go(func() { // the publisher's PUBACKs
			in := bufio.NewReaderSize(pub.conn, 16<<10)
			for range n {
				if _, err := in.Discard(4); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	body := append(text("bench/t"), 0, 0)
	if qos == 0 {
		body = body[:len(body)-2]
	}
	packet := frame(0x30|qos<<1, append(body, make([]byte, benchPayload)...))
	out := bufio.NewWriterSize(pub.conn, 16<<10)
	for i, credit := 0, 0; i < n; i++ {
		for credit == 0 {
			out.Flush()
			credit += <-free
		}
		credit--
		if qos > 0 {
			binary.BigEndian.PutUint16(packet[len(packet)-benchPayload-2:], uint16(i%65535+1))
		}
		if _, err := out.Write(packet); err != nil {
			b.Fatal(err)
		}
	}
	out.Flush()
	both.Wait()
	sub.conn.Close()
	pub.conn.Close()
}

// drain reads n messages and acknowledges them.
func drain(p *peer, qos byte, n int, free chan<- int) {
	in := bufio.NewReaderSize(p.conn, 64<<10)
	acks := make([]byte, 0, 16<<10)
	unreported := 0
	for i := range n {
		head, err := in.Peek(2)
		if err != nil {
			p.t.Error(err)
			return
		}
		size := int(head[1]) + 2
		packet, err := in.Peek(size)
		if err != nil {
			p.t.Error(err)
			return
		}
		if qos > 0 {
			at := 2 + 2 + len("bench/t")
			acks = append(acks, packets.Puback<<4, 2, packet[at], packet[at+1])
		}
		in.Discard(size)
		unreported++
		if in.Buffered() < 2 || unreported == 64 || i == n-1 {
			if len(acks) > 0 {
				p.conn.Write(acks)
				acks = acks[:0]
			}
			free <- unreported
			unreported = 0
		}
	}
}

func benchmarkFlow(b *testing.B, qos byte) {
	br, _ := start(b, broker.Config{})
	b.ReportAllocs()
	flow(b, br.Addr(), qos, b.N, 1000)
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "msg/s")
	if b.N > 10_000 {
		b.Logf("RESULT bus_qos%d %.0f messages/s", qos, rate)
	}
	if s := br.Stats(); s.Dropped > 0 {
		b.Errorf("%d dropped", s.Dropped)
	}
}

func BenchmarkQoS0(b *testing.B) { benchmarkFlow(b, 0) }
func BenchmarkQoS1(b *testing.B) { benchmarkFlow(b, 1) }

// BenchmarkIdle measures the memory of clients that are connected, have one subscription
// and say nothing. Each takes two open files of this process.
func BenchmarkIdle(b *testing.B) {
	const clients = 9_000
	br, _ := start(b, broker.Config{MaxClients: clients})
	resident := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := resident()
	for range b.N {
		all := make([]*peer, 0, clients)
		for i := range clients {
			p := join(b, br.Addr(), connect{id: fmt.Sprintf("idle-%d", i)})
			p.subscribe(fmt.Sprintf("idle/%d", i), 1)
			all = append(all, p)
		}
		kib := float64(resident()-before) / clients / 1024
		b.ReportMetric(kib, "KiB/client")
		b.Logf("RESULT bus_idle_kib %.1f KiB", kib)
		for _, p := range all {
			p.conn.Close()
		}
	}
}

// allowAll is mochi's hook that lets everybody do everything.
type allowAll struct{ mqtt.HookBase }

func (allowAll) ID() string { return "open" }
func (allowAll) Provides(b byte) bool {
	return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck
}
func (allowAll) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (allowAll) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }

// benchmarkMochi is benchmarkFlow on mochi-mqtt's own server.
func benchmarkMochi(b *testing.B, qos byte) {
	limits := mqtt.NewDefaultServerCapabilities()
	limits.MaximumClientWritesPending = 64 << 10
	server := mqtt.New(&mqtt.Options{Capabilities: limits, Logger: slog.New(slog.DiscardHandler)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	if err := errors.Join(server.AddHook(&allowAll{}, nil), server.AddListener(listeners.NewNet("l", l)), server.Serve()); err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	b.ReportAllocs()
	b.ResetTimer()
	flow(b, l.Addr(), qos, b.N, 1000)
	rate := float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(rate, "msg/s")
	if b.N > 10_000 {
		b.Logf("RESULT bus_qos%d_mochi %.0f messages/s", qos, rate)
	}
}

func BenchmarkMochiQoS0(b *testing.B) { benchmarkMochi(b, 0) }
func BenchmarkMochiQoS1(b *testing.B) { benchmarkMochi(b, 1) }

// BenchmarkDurable is QoS 1 to a session that is kept, with a store on the disk.
func BenchmarkDurable(b *testing.B) {
	dir := b.TempDir()
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir + "/store", KeyFile: dir + "/key"})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	br, stop := start(b, broker.Config{Storage: metastore.New(store, "mqtt/")})
	defer stop()
	kept := join(b, br.Addr(), connect{id: "kept", keep: true})
	kept.subscribe("bench/t", 1)
	kept.leave() // it is away: what is published is written and stays
	b.ResetTimer()
	n := min(b.N, 40_000) // what one session holds
	flow(b, br.Addr(), 1, n, 1000)
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "msg/s")
	if b.N > 10_000 {
		b.Logf("RESULT bus_qos1_durable %.0f messages/s", float64(n)/b.Elapsed().Seconds())
	}
}
