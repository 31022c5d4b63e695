package hub_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
)

var seed = flag.Uint64("seed", 0, "seed of the model test; 0 takes a few fixed ones")

// roundSteps is how long one round of the model is.
const roundSteps = 400

// TestModel makes both sides change objects, append events, call, fail, lag, die at any
// effect and lose the link at random. In the end each side must hold what the other has.
// No key may ever go back to an older version, each event comes once and in order,
// nothing that was acked is lost, and no call is answered twice.
//
// A seed decides what happens to the world and to the programs. The scheduler decides the
// order of goroutines that are ready at the same instant. So a round that failed fails
// again most of the time, but not always.
func TestModel(t *testing.T) {
	if *seed != 0 {
		modelRound(t, *seed, &deaths{})
		return
	}
	var d deaths
	for s := range uint64(modelSteps / roundSteps) {
		modelRound(t, s+1, &d)
	}
	t.Log("programs died at", d.summary(d.at))
	t.Log("frames came", d.summary(d.sent))
}

// TestModelRun is TestModel for any number of steps:
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
	fmt.Println("the first seed is", first)
	var sum tally
	var d deaths
	done := 0
	for s := first; done < steps; s++ {
		got := modelRound(t, s, &d)
		sum.lost += got.lost
		sum.doubled += got.doubled
		done += roundSteps
	}
	total := 0
	for _, n := range d.at {
		total += n
	}
	fmt.Printf("RESULT model_lost %d objects\nRESULT model_doubled %d objects\nRESULT model_steps %d steps\nRESULT model_deaths %d programs\n",
		sum.lost, sum.doubled, done, total)
}

// summary lists counts by name.
func (d *deaths) summary(counts map[string]int) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, fmt.Sprintf("%s: %d", k, counts[k]))
	}
	return strings.Join(out, ", ")
}

// tally is what a round of the model found.
type tally struct {
	lost    int // objects that did not arrive, or not as they were last
	doubled int // objects that a side which keeps its versions got again; events that were applied twice
}

func modelRound(t *testing.T, seed uint64, d *deaths) (sum tally) {
	t.Helper()
	t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { sum = model(t, seed, roundSteps, d) })
	})
	if sum != (tally{}) {
		t.Errorf("%+v: go test ./hub -run 'TestModel$' -seed %d repeats it", sum, seed)
	}
	return sum
}

// model is one round.
func model(t *testing.T, seed uint64, steps int, d *deaths) tally {
	w := newWorld(t, seed, d)
	defer w.end()
	w.startCloud(w.fate())
	w.startEdge(w.fate())
	for version := 1; version <= steps; version++ {
		w.step(version)
		// Steps take 30 ms on average, and the ends are quick enough to be
		// connected for most of them.
		<-time.After(time.Duration(w.rnd.IntN(60)) * time.Millisecond)
	}
	w.calm()
	return w.compare()
}

// fate chooses how a new life ends, if it does: soon, so that it dies while the two sides
// compare, or late.
func (w *world) fate() doom {
	if w.rnd.IntN(4) == 0 {
		return doom{}
	}
	most := []int{20, 60, 200, 1000}[w.rnd.IntN(4)]
	return doom{"", 1 + w.rnd.IntN(most), point(w.rnd.IntN(int(numPoints))), manner(w.rnd.IntN(int(numManners)))}
}

// step makes one thing happen to the world: one case of the switch.
func (w *world) step(version int) {
	// A dead program is started again, sooner or later.
	if w.edge.isDead() && w.rnd.IntN(4) == 0 {
		w.restart(&w.edge, w.startEdge)
	}
	if w.cloud.isDead() && w.rnd.IntN(4) == 0 {
		w.restart(&w.cloud, w.startCloud)
	}
	k := hub.Key{Resource: "r", Name: strconv.Itoa(w.rnd.IntN(40))}
	body := fmt.Sprintf("%*d", 1+w.rnd.IntN(3000), version)
	switch w.rnd.IntN(24) {
	case 0:
		w.net.Cut("a")
	case 1:
		w.net.Stall("a", w.rnd.IntN(3) == 0)
	case 2:
		w.down.Delete(k, version)
		delete(w.truth, k)
	case 3:
		w.fail(true)
	case 4:
		w.fail(false)
	case 5:
		w.down.FailLoad(func(hub.Key, string) error { return hub.ErrLagging })
	case 6:
		w.down.FailLoad(nil)
	case 7, 8:
		w.report(k, version, body)
	case 9: // the edge's program is stopped, or cut off from the world and stopped
		if w.rnd.IntN(8) == 0 {
			if w.rnd.IntN(2) == 0 {
				w.net.Cut("a")
			}
			w.restart(&w.edge, w.startEdge)
		}
	case 10: // the cloud's
		if w.rnd.IntN(8) == 0 {
			if w.rnd.IntN(2) == 0 {
				w.net.Cut("a")
			}
			w.restart(&w.cloud, w.startCloud)
		}
	case 11, 12, 13, 14:
		w.mails[w.rnd.IntN(2)].append(w.rnd, body)
	case 15:
		w.ask(version)
	default:
		w.put(k, version, body)
	}
}

// effects are the kinds of effects that each end has.
func effects(cloud bool) []string {
	kinds := []string{
		"digest", "want", "versions", "put", "ack", "nack", "marks", "event", "refusal", "goodbye",
		"list the source", "load", "list the sink", "apply", "list the outbox", "read", "forget", "list the marks", "append",
	}
	if cloud {
		return append(kinds, "attach", "welcome", "pong")
	}
	return append(kinds, "dial", "open a stream", "hello", "ping", "tell the acker")
}

// TestEveryEffect runs a small world in which everything happens once or a few times:
// changes, deletes, refusals and events in both directions, compared over a new session.
// In the first run one end dies at its first effect of a kind, in the next run at its
// second, and so on: before, during and after the effect, until a run ends without a
// death. Each time the program starts again on its durable state, and the result must be
// as if it had not died.
func TestEveryEffect(t *testing.T) {
	var d deaths
	for _, cloud := range []bool{false, true} {
		for _, kind := range effects(cloud) {
			for at := range numPoints {
				for after := 1; ; after++ {
					fate, died := doom{kind, after, at, manner(after % int(numManners))}, false
					t.Run(fmt.Sprintf("cloud=%v/%s/%v/%d", cloud, kind, at, after), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { died = everyEffect(t, cloud, fate, &d) })
					})
					if !died && after == 1 {
						t.Errorf("cloud=%v: nobody died %v %q", cloud, at, kind)
					}
					if !died || t.Failed() {
						break
					}
				}
			}
		}
	}
	t.Log("programs died at", d.summary(d.at))
}

// everyEffect is one run. It reports whether the program died.
func everyEffect(t *testing.T, cloud bool, fate doom, d *deaths) bool {
	w := newWorld(t, 1, d)
	w.orderly = true
	defer w.end()
	final := &hub.Error{Code: hub.CodeInvalid, Text: "never"}
	refuse := func(objects []hub.Object) error {
		if slices.ContainsFunc(objects, func(o hub.Object) bool { return o.Key.Name == "refused" }) {
			return final
		}
		return nil
	}
	refuseEvents := func(events []hub.Event) error {
		if slices.ContainsFunc(events, func(e hub.Event) bool { return e.Key.Name == "refused" }) {
			return final
		}
		return nil
	}
	w.sink.FailApply(refuse)
	w.arrived.FailApply(refuse)
	mortal, other := w.startEdge, w.startCloud
	run := &w.edge
	if cloud {
		mortal, other, run = other, mortal, &w.cloud
	}
	key := func(name string) hub.Key { return hub.Key{Resource: "r", Name: name} }
	// The edge holds one current object, one of an older version and one that was
	// deleted; it refuses one object for good.
	w.put(key("same"), 1, "x")
	w.put(key("older"), 1, "x")
	w.put(key("gone"), 1, "x")
	other(doom{})
	mortal(doom{})
	<-time.After(time.Second)
	w.restart(run, func(doom) { mortal(fate) })
	doomed := run.life
	w.put(key("older"), 2, "xx")
	w.down.Delete(key("gone"), 2)
	delete(w.truth, key("gone"))
	w.down.Put(key("refused"), 1, "x")
	w.report(key("status"), 1, "x")
	w.outbox.Put(key("refused"), 1, "x")
	for _, m := range w.mails {
		m.in.FailAppend(refuseEvents)
		m.refused = m.out.Append("s0", key("refused"), "x")
		m.append(w.rnd, "x")
	}
	// Long enough for all frames of an idle link, too.
	for range 20 {
		if run.isDead() {
			<-time.After(time.Second)
			w.restart(run, func(doom) { mortal(doom{}) })
		}
		<-time.After(200 * time.Millisecond)
	}
	w.report(key("status"), 2, "x")
	w.restart(run, func(doom) { mortal(doom{}) }) // a GOAWAY is an effect too
	<-time.After(time.Minute)
	if sum := w.compare(); sum != (tally{}) {
		t.Errorf("%+v", sum)
	}
	return doomed.isDead()
}
