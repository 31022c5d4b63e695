package hub_test

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

var seed = flag.Uint64("seed", 0, "seed of the model test; 0 takes a few fixed ones")

// TestModel has both sides change, fail, lag and lose the link at random, and
// wants what each holds to be what the other has in the end, with no key ever
// going back and nothing that was acked lost.
func TestModel(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8}
	if *seed != 0 {
		seeds = []uint64{*seed}
	}
	for _, s := range seeds {
		t.Run(strconv.FormatUint(s, 10), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { model(t, s, 400) }) })
	}
}

func model(t *testing.T, seed uint64, steps int) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	n := memconn.New(memconn.Config{Delay: 20 * time.Millisecond, Window: 8 << 10})
	dir, sink, outbox := &hubtest.Directory{}, &hubtest.Sink{}, &hubtest.AckedSource{}
	down, arrived := dir.Down("a"), dir.Up("a")
	_, client, stop := pair(t, n, dir, hub.ClientConfig{
		Down: sink, Up: outbox, Keepalive: 10 * time.Second, Limits: hub.Limits{Window: 8, WindowBytes: 8 << 10},
	})
	defer stop()
	<-client.Ready()
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
		switch rnd.IntN(12) {
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
		case 4:
			sink.FailApply(nil)
			arrived.FailApply(nil)
		case 5:
			down.FailLoad(func(hub.Key, string) error { return hub.ErrLagging })
		case 6:
			down.FailLoad(nil)
		case 7, 8:
			outbox.Put(k, version, body)
			reported[k] = version
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
	<-time.After(3 * time.Minute) // the longest back-offs, and then some
	compare(t, truth, reported, sink, arrived)
}

// compare holds what arrived against what was last said, on both sides.
func compare(t *testing.T, truth, reported map[hub.Key]int, sink, arrived *hubtest.Sink) {
	t.Helper()
	if sink.Len() != len(truth) {
		t.Errorf("the edge holds %d objects of %d", sink.Len(), len(truth))
	}
	for k, v := range truth {
		if sink.Held(k) != strconv.Itoa(v) {
			t.Errorf("the edge holds %v at %q, the truth is %d", k, sink.Held(k), v)
		}
	}
	for k, v := range reported {
		if arrived.Held(k) != strconv.Itoa(v) {
			t.Errorf("the cloud has %v at %q, reported was %d", k, arrived.Held(k), v)
		}
	}
	for side, log := range map[string][]hub.Object{"edge": sink.Log(), "cloud": arrived.Log()} {
		last := map[hub.Key]string{}
		for _, o := range log {
			if hubtest.CompareVersions(o.Version, last[o.Key]) < 0 {
				t.Errorf("%s: %v went from %s to %s", side, o.Key, last[o.Key], o.Version)
			}
			last[o.Key] = o.Version
		}
	}
}
