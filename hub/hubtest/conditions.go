package hubtest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Weather is what a PacketProxy does to packets, and a Proxy to bytes, each way. TCP
// neither loses nor reorders bytes: there, lost bytes come late, and so do all bytes
// after them.
type Weather struct {
	Delay  time.Duration // of each packet
	Jitter time.Duration // a packet may come later by up to this: the order of packets changes
	Loss   float64       // share of packets that are lost, 0 to 1
}

// Weathers are the conditions in which a suite over a real network runs, by name.
func Weathers() map[string]Weather {
	return map[string]Weather{
		"Fair":  {},
		"Far":   {Delay: 100 * time.Millisecond},
		"Rough": {Delay: 5 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.02},
	}
}

// late is how much later a packet comes, and whether it is lost.
func (w Weather) late(dice *rand.Rand) (delay time.Duration, lost bool) {
	delay = w.Delay
	if w.Jitter > 0 {
		delay += time.Duration(dice.Int64N(int64(w.Jitter)))
	}
	return delay, dice.Float64() < w.Loss
}

// cutMidFrame breaks the link over and over while large objects travel.
func cutMidFrame(r *rig) {
	e := r.up("a", nil)
	down := r.dir.Down("a")
	body := strings.Repeat("0123456789", 10_000) // too large for a batch, which would shrink it
	for round := 1; round <= 4; round++ {
		sessions := e.sessions()
		if r.tr.CutAfter != nil {
			r.tr.CutAfter("a", 70_000*round+777)
		}
		for i := range 4 {
			down.Put(key(strconv.Itoa(i)), round, body)
			e.up.Put(key(strconv.Itoa(i)), round, body)
		}
		if r.tr.CutAfter == nil {
			r.tr.Cut("a")
		}
		r.until("a new session", func() bool { return e.sessions() > sessions })
		r.until("all arrived", func() bool {
			for i := range 4 {
				if k := key(strconv.Itoa(i)); e.down.Held(k) != strconv.Itoa(round) || r.dir.Up("a").Held(k) != strconv.Itoa(round) {
					return false
				}
			}
			return true
		})
	}
	r.inOrder(e.down)
	r.inOrder(r.dir.Up("a"))
	for _, o := range append(e.down.Log(), r.dir.Up("a").Log()...) {
		if string(o.Body) != body {
			r.Fatalf("%v was mangled", o.Key)
		}
	}
}

// slowReader checks that streams with a slow reader delay nothing else, and are read to
// their end.
func slowReader(r *rig) {
	const size = 200 << 10
	r.mux.HandleStream("drip", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		buf := make([]byte, 8<<10)
		for n := 0; n < size; {
			r.pass(5 * time.Millisecond)
			k, err := s.Read(buf)
			if err != nil {
				return fmt.Errorf("after %d bytes: %w", n, err)
			}
			n += k
		}
		return nil
	}))
	r.mux.HandleStream("echo", hub.StreamHandlerFunc(echoStream))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		done := make(chan error, 3)
		for range cap(done) {
			go func() {
				s, err := c.open(r.ctx, to("drip"))
				if err == nil {
					defer s.Close()
					if _, err = s.Write(make([]byte, size)); err == nil {
						_, err = io.ReadAll(s) // until the handler is done
					}
				}
				done <- err
			}()
		}
		if err := r.echo(c, strings.Repeat("0123456789", 10_000)); err != nil {
			r.Errorf("%s: %v", c.name, err)
		}
		for range cap(done) {
			if err := <-done; err != nil {
				r.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// halfOpenBusy checks that both sides notice a link on which nothing arrives, although
// they have much to send and the transport accepts it.
func halfOpenBusy(r *rig) {
	r.mux.HandleStream("drain", hub.StreamHandlerFunc(func(_ context.Context, _ hub.Request, s hub.Stream) error {
		_, err := io.Copy(io.Discard, s)
		return err
	}))
	e := r.up("a", nil)
	for _, c := range r.both(e) {
		s, err := c.open(r.ctx, to("drain"))
		if err != nil {
			r.Fatal(err)
		}
		defer s.Close()
		written := make(chan struct{})
		defer func() { <-written }()
		go func() {
			defer close(written)
			for {
				if _, err := s.Write(make([]byte, 64<<10)); err != nil {
					return
				}
				r.pass(time.Millisecond)
			}
		}()
	}
	r.pass(interval / 4)
	begun := time.Now()
	r.tr.Stall("a", true)
	r.until("the edge notices", func() bool { return !e.Info().Connected })
	r.until("the cloud notices", func() bool { return len(r.server.Nodes()) == 0 })
	r.within(6*r.keepalive, time.Since(begun))
	r.tr.Stall("a", false)
	r.connected(e)
}

// blackHole starts an edge while no byte gets through; it connects as soon as bytes do.
func blackHole(r *rig) {
	r.tr.Stall("a", true)
	e := r.edge("a", func(c *hub.ClientConfig) { c.Handshake = r.handshake(3 * interval) })
	r.until("the edge has given up once", func() bool { return e.Info().Reason != "" })
	if e.Info().Connected {
		r.Errorf("through a black hole: %+v", e.Info())
	}
	r.tr.Stall("a", false)
	r.connected(e)
}
