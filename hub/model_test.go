package hub_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

var seed = flag.Uint64("seed", 0, "seed of the model test; 0 takes a few fixed ones")

// roundSteps is how long one round of the model is.
const roundSteps = 400

// TestModel has both sides change, append, fail, lag, crash and lose the link
// at random, and wants what each holds to be what the other has in the end, with
// no key ever going back, each event once and in order, and nothing that was
// acked lost.
func TestModel(t *testing.T) {
	if *seed != 0 {
		modelRound(t, *seed)
		return
	}
	for s := range uint64(modelSteps / roundSteps) {
		modelRound(t, s+1)
	}
}

// TestModelRun is the model for as long as one likes:
//
//	STEPS=1000000 SEED=1 go test -count=1 -timeout 0 -v -run TestModelRun ./hub
//
// Each round has a seed of its own, counted up from SEED; -seed repeats one
// with TestModel.
func TestModelRun(t *testing.T) {
	steps, err := strconv.Atoi(os.Getenv("STEPS"))
	if err != nil {
		t.Skip("runs for STEPS steps, from SEED: set them")
	}
	first := uint64(1)
	if text := os.Getenv("SEED"); text != "" {
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var sum tally
	done := 0
	for s := first; done < steps; s++ {
		got := modelRound(t, s)
		sum.lost += got.lost
		sum.doubled += got.doubled
		done += roundSteps
	}
	fmt.Printf("RESULT model_lost %d objects\nRESULT model_doubled %d objects\nRESULT model_steps %d steps\n", sum.lost, sum.doubled, done)
}

// tally is what a round of the model found.
type tally struct {
	lost    int // objects that did not arrive, or not as they were last
	doubled int // objects that a side which remembers was given once more; events that were applied twice
}

func modelRound(t *testing.T, seed uint64) (sum tally) {
	t.Helper()
	t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { sum = model(t, seed, roundSteps) })
	})
	if sum != (tally{}) {
		t.Errorf("seed %d: %+v", seed, sum)
	}
	return sum
}

// program runs f until the returned func is called.
func program(t *testing.T, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f(ctx); err != nil {
			t.Error(err)
		}
	})
	return func() { cancel(); wg.Wait() }
}

func model(t *testing.T, seed uint64, steps int) tally {
	rnd := rand.New(rand.NewPCG(seed, 0))
	n := memconn.New(memconn.Config{Delay: 20 * time.Millisecond, Window: 8 << 10})
	dir, sink, outbox := &hubtest.Directory{}, &hubtest.Sink{}, &hubtest.AckedSource{}
	down, arrived := dir.Down("a"), dir.Up("a")
	mails := []*mail{{out: &hubtest.Outbox{}, in: dir.Inbox("a")}, {out: dir.Outbox("a"), in: &hubtest.Inbox{}}}
	// Steps take 30 ms on average, and the ends are quick enough to be
	// connected for most of them.
	cloud := func() func() {
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: dir, Keepalive: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return program(t, server.Run)
	}
	edge := func() func() {
		client, err := hub.NewClient(hub.ClientConfig{
			Dialer: n.Dialer("a"), Node: "a", Down: sink, Up: outbox, Outbox: mails[0].out, Inbox: mails[1].in,
			Keepalive: 200 * time.Millisecond, Backoff: hub.Backoff{Min: time.Millisecond, Max: 100 * time.Millisecond},
			Limits: hub.Limits{Window: 8, WindowBytes: 8 << 10},
		})
		if err != nil {
			t.Fatal(err)
		}
		return program(t, client.Run)
	}
	stopCloud, stopEdge := cloud(), edge()
	defer func() { stopEdge(); stopCloud() }()
	truth, reported := map[hub.Key]int{}, map[hub.Key]int{}
	failing := func([]hub.Object) error {
		if rand.N(4) == 0 {
			return errors.New("not now")
		}
		return nil
	}
	for version := 1; version <= steps; version++ {
		k := hub.Key{Resource: "r", Name: strconv.Itoa(rnd.IntN(40))}
		body := fmt.Sprintf("%*d", 1+rnd.IntN(3000), version)
		switch rnd.IntN(22) {
		case 0:
			n.Cut("a")
		case 1:
			n.Stall("a", rnd.IntN(3) == 0)
		case 2:
			down.Delete(k, version)
			delete(truth, k)
		case 3:
			sink.FailApply(failing)
			arrived.FailApply(failing)
			for _, m := range mails {
				m.in.FailAppend(failingEvents)
			}
		case 4:
			sink.FailApply(nil)
			arrived.FailApply(nil)
			for _, m := range mails {
				m.in.FailAppend(nil)
			}
		case 5:
			down.FailLoad(func(hub.Key, string) error { return hub.ErrLagging })
		case 6:
			down.FailLoad(nil)
		case 7, 8:
			outbox.Put(k, version, body)
			reported[k] = version
		case 9: // the edge's program dies, and starts over what it kept
			if rnd.IntN(4) == 0 {
				n.Cut("a")
				stopEdge()
				stopEdge = edge()
			}
		case 10: // the cloud's
			if rnd.IntN(4) == 0 {
				n.Cut("a")
				stopCloud()
				stopCloud = cloud()
			}
		case 11, 12, 13, 14:
			mails[rnd.IntN(2)].append(rnd, body)
		default:
			down.Put(k, version, body)
			truth[k] = version
		}
		<-time.After(time.Duration(rnd.IntN(60)) * time.Millisecond)
	}
	n.Stall("a", false)
	down.FailLoad(nil)
	sink.FailApply(nil)
	arrived.FailApply(nil)
	for _, m := range mails {
		m.in.FailAppend(nil)
		m.out.FailNext(nil)
	}
	<-time.After(3 * time.Minute) // the longest back-offs, and then some
	sum := compare(t, truth, reported, sink, arrived, outbox.Seen())
	for _, m := range mails {
		m.compare(t, &sum)
	}
	return sum
}

// mail is one direction of the event class.
type mail struct {
	out  *hubtest.Outbox
	in   *hubtest.Inbox
	sent int
}

// append adds some events to one of three sources; now and then the Outbox
// cannot be read.
func (m *mail) append(rnd *rand.Rand, body string) {
	source := fmt.Sprint("s", rnd.IntN(3))
	for range 1 + rnd.IntN(20) {
		m.out.Append(source, hub.Key{Resource: "events", Name: source}, body)
		m.sent++
	}
	if m.out.FailNext(nil); rnd.IntN(8) == 0 {
		m.out.FailNext(func(string) error { return errors.New("disk on fire") })
	}
}

func failingEvents([]hub.Event) error {
	if rand.N(4) == 0 {
		return errors.New("not now")
	}
	return nil
}

// compare wants each event applied once, in the order of its source, and
// forgotten by its owner.
func (m *mail) compare(t *testing.T, sum *tally) {
	t.Helper()
	last := map[string]uint64{}
	log := m.in.Log()
	for _, e := range log {
		switch {
		case e.ID <= last[e.Source]:
			t.Errorf("event %d of %s after %d", e.ID, e.Source, last[e.Source])
			sum.doubled++
		case e.ID != last[e.Source]+1:
			t.Errorf("event %d of %s after %d", e.ID, e.Source, last[e.Source])
			sum.lost++
		}
		last[e.Source] = e.ID
	}
	if n := m.sent - len(log); n > 0 {
		t.Errorf("%d events of %d are missing", n, m.sent)
		sum.lost += n
	}
	if m.out.Len() != 0 {
		t.Errorf("%d events are still in the outbox", m.out.Len())
	}
}

// compare holds what arrived against what was last said, on both sides, and
// against what was acked.
func compare(t *testing.T, truth, reported map[hub.Key]int, sink, arrived *hubtest.Sink, acked []hub.Object) (sum tally) {
	t.Helper()
	lost := func(format string, args ...any) {
		t.Errorf(format, args...)
		sum.lost++
	}
	if sink.Len() > len(truth) {
		t.Errorf("the edge holds %d objects of %d", sink.Len(), len(truth))
	}
	for k, v := range truth {
		if sink.Held(k) != strconv.Itoa(v) {
			lost("the edge holds %v at %q, the truth is %d", k, sink.Held(k), v)
		}
	}
	for k, v := range reported {
		if arrived.Held(k) != strconv.Itoa(v) {
			lost("the cloud has %v at %q, reported was %d", k, arrived.Held(k), v)
		}
	}
	for _, o := range acked {
		if hubtest.CompareVersions(arrived.Held(o.Key), o.Version) < 0 {
			lost("the cloud acked %v at %s and has %q", o.Key, o.Version, arrived.Held(o.Key))
		}
	}
	for side, log := range map[string][]hub.Object{"edge": sink.Log(), "cloud": arrived.Log()} {
		last := map[hub.Key]string{}
		for _, o := range log {
			switch c := hubtest.CompareVersions(o.Version, last[o.Key]); {
			case c < 0:
				t.Errorf("%s: %v went from %s to %s", side, o.Key, last[o.Key], o.Version)
			case c == 0 && side == "edge" && !o.Deleted:
				// The cloud's side forgets what it had, and may get it again.
				sum.doubled++
			}
			last[o.Key] = o.Version
		}
	}
	return sum
}
