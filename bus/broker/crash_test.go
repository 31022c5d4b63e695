package broker_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/broker"
)

// TestCrash lets a broker lose its power again and again while two clients publish with QoS 1
// and 2 and two read in kept sessions. The clients are unkind: they end their connections at any
// packet, are late with their acknowledgements, use few packet identifiers, and the
// storage takes little at once, so that most crashes come between two parts of a batch. Nothing is
// lost, and nothing of QoS 2 comes twice. SEEDS=300 CRASHES=40 search longer.
func TestCrash(t *testing.T) {
	for seed := range uint64(crashNumber("SEEDS", 4)) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			runCrash(t, seed, crashNumber("CRASHES", 12))
		})
	}
}

func crashNumber(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil && n > 0 {
		return n
	}
	return otherwise
}

// powered is a disk whose machine loses its power. It takes little in one step.
type powered struct {
	disk
	mu    sync.Mutex
	off   bool          // nothing is written any more, but the next parts
	parts int           // which are so many
	stall chan struct{} // is closed when the machine is gone
}

var _ broker.Bounded = (*powered)(nil)

func (p *powered) MaxApply() int { return 300 }

func (p *powered) Apply(ctx context.Context, changes []broker.Record) error {
	p.mu.Lock()
	write := !p.off || p.parts > 0
	if p.off {
		p.parts--
	}
	p.mu.Unlock()
	if write {
		return p.disk.Apply(ctx, changes)
	}
	<-p.stall // nobody hears that it was not written
	return nil
}

// cut stops the disk after some more parts.
func (p *powered) cut(parts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off, p.parts = true, parts
}

// crashScene is a machine and its clients.
type crashScene struct {
	ctx     context.Context
	version byte
	each    int // messages of each publisher

	mu    sync.Mutex
	addr  net.Addr // nil while the machine is down
	conns map[net.Conn]struct{}

	progress atomic.Int64
	working  atomic.Int64 // clients that are not done
	faults   chan string
}

func runCrash(t *testing.T, seed uint64, crashes int) {
	const each = 150
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := rand.New(rand.NewPCG(seed, 3))
	d := &powered{stall: make(chan struct{})}
	cfg := broker.Config{Storage: d, MaxInflight: 20}
	b, stop := start(t, cfg)
	s := &crashScene{ctx: ctx, version: 4 + byte(seed%2), each: each, addr: b.Addr(), conns: make(map[net.Conn]struct{}), faults: make(chan string, 1000)}
	readers := []*crashReader{{crashClient: s.client("read-0", seed)}, {crashClient: s.client("read-1", seed)}}
	var publishing, reading sync.WaitGroup
	s.working.Store(4)
	for _, c := range readers {
		reading.Go(func() {
			defer s.working.Add(-1)
			c.run()
		})
	}
	waitFor(t, func() bool { return readers[0].subscribed.Load() && readers[1].subscribed.Load() })
	for i := range 2 {
		publishing.Go(func() {
			defer s.working.Add(-1)
			(&crashPublisher{crashClient: s.client(fmt.Sprint("pub-", i), seed)}).run()
		})
	}
	for crash := range crashes {
		until := s.progress.Load() + r.Int64N(each*20/int64(crashes))
		for s.progress.Load() < until && s.working.Load() > 0 && ctx.Err() == nil {
			pauseShort(ctx)
		}
		d = s.restart(t, r, d, stop, crash)
		cfg.Storage = d
		b, stop = start(t, cfg)
		s.up(b.Addr())
	}
	publishing.Wait()
	reading.Wait()
	close(s.faults)
	for fault := range s.faults {
		t.Error(fault)
	}
	if ctx.Err() != nil {
		t.Errorf("the clients are not done: %d and %d messages are read of %d", len(readers[0].seen), len(readers[1].seen), 2*each)
	}
}

func pauseShort(ctx context.Context) {
	pause, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	<-pause.Done()
}

// restart ends the broker in one of several ways and returns what its disk holds.
func (s *crashScene) restart(t *testing.T, r *rand.Rand, d *powered, stop func(), crash int) *powered {
	if crash%4 == 0 { // it is ended by its operator
		s.down(false)
		stop()
		return &powered{disk: *d.copy(), stall: make(chan struct{})}
	}
	d.cut(r.IntN(4))
	for range r.IntN(4) {
		pauseShort(s.ctx)
	}
	s.down(true)
	left := &powered{disk: *d.copy(), stall: make(chan struct{})}
	close(d.stall)
	stop()
	return left
}

// down makes the machine unreachable; hard ends the connections without a word.
func (s *crashScene) down(hard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = nil
	for c := range s.conns {
		if hard {
			c.Close()
		}
		delete(s.conns, c)
	}
}

func (s *crashScene) up(addr net.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addr = addr
}
