package twin

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/edgekit/edgekit/twin/history"
)

// choice gives the next choice, from 0 to n-1: at random, or from the bytes of a fuzzer.
type choice func(n int) int

func random(seed uint64) choice {
	rnd := rand.New(rand.NewPCG(seed, 16))
	return func(n int) int { return rnd.IntN(n) }
}

// randomEvent makes any event, good or bad, with few names and values so that they meet.
func randomEvent(pick choice, now time.Time) Event {
	ev := Event{Device: "a/b", Time: now}
	switch pick(12) {
	case 0, 1:
		ev.Request = randomPut(pick)
	case 2:
		if pick(5) == 0 {
			ev.Request = Remove{}
			return ev
		}
		ev.Request = Read{}
	case 3:
		ev.Request = SetState{State: []string{"online", "offline", "OK", "sleepy"}[pick(4)], Within: time.Duration(pick(3)) * time.Second}
	case 4:
		ev.Request = Tick{}
	case 5, 6:
		ev.Request = Sync{Twins: randomPatches(pick)}
	default:
		ev.Request = Update{Twins: randomPatches(pick)}
	}
	return ev
}

func randomPut(pick choice) Put {
	put := Put{Member: Member{Version: uint64(pick(6)), Incarnation: []string{"", "", "", "2"}[pick(4)], ReportWithin: time.Duration(pick(2)) * 10 * time.Second}}
	for _, name := range []string{"p", "q", "r"} {
		if pick(4) == 0 {
			continue
		}
		d := Declaration{Name: name, Type: []string{"int", "string", "", "float"}[pick(4)]}
		if pick(2) == 0 {
			d.Desired = Text([]string{"1", "2", "x", ""}[pick(4)])
		}
		switch pick(6) {
		case 0:
			d.Rule = Rule{Maximum: "1", History: history.Limit{Values: 3}}
		case 1:
			d.Rule = Rule{ReadOnly: true, ReportAlways: true}
		case 2:
			d.Rule = Rule{Authority: []Authority{Cloud, Edge}[pick(2)]}
		}
		put.Properties = append(put.Properties, d)
	}
	return put
}

func randomPatches(pick choice) map[string]*Patch {
	patches := make(map[string]*Patch)
	for range 1 + pick(3) {
		name := []string{"p", "q", "r", "s", "bad name"}[pick(21)/5]
		if pick(8) == 0 {
			patches[name] = nil
			continue
		}
		p := &Patch{Type: []string{"", "int", "none"}[pick(21)/10]}
		value := func() *string { return Text([]string{"1", "2", "3", "<x>\n\"", ""}[pick(5)]) }
		version := func() *Version {
			if pick(3) == 0 {
				return nil
			}
			return &Version{Cloud: uint64(pick(6)), Edge: uint64(pick(6))}
		}
		if pick(2) == 0 {
			p.Expected, p.ExpectedVersion = value(), version()
		}
		if pick(2) == 0 {
			p.Actual, p.ActualVersion = value(), version()
		}
		if pick(8) == 0 {
			optional := pick(2) == 0
			p.Optional = &optional
		}
		patches[name] = p
	}
	return patches
}

func text(tb testing.TB, v any) string {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(raw)
}

// checkStep carries out an event and holds Step to its rules.
func checkStep(tb testing.TB, d Device, ev Event) (Device, []Effect) {
	tb.Helper()
	before := text(tb, d)
	next, effects := Step(d, ev)
	if text(tb, d) != before {
		tb.Fatalf("%+v: Step changed the device that it was given", ev)
	}
	again, effects2 := Step(d, ev)
	if text(tb, next) != text(tb, again) || text(tb, effects) != text(tb, effects2) {
		tb.Fatalf("%+v: Step is not deterministic:\n%s\n%s", ev, text(tb, effects), text(tb, effects2))
	}
	own := d
	own.Twins = maps.Clone(d.Twins)
	owned, effects3 := own.step(ev, true)
	if text(tb, owned) != text(tb, next) || text(tb, effects) != text(tb, effects3) {
		tb.Fatalf("%+v: in place it is\n%s, want\n%s", ev, text(tb, owned), text(tb, next))
	}
	order := 0
	for _, effect := range effects {
		rank := map[string]int{"Save": 1, "Refused": 1, "Result": 2, "Past": 3, "Membership": 4, "Document": 5, "Report": 6, "Delta": 7, "StateResult": 2}[reflect.TypeOf(effect).Name()]
		if rank < order {
			tb.Fatalf("%+v: effects are out of order: %s", ev, text(tb, effects))
		}
		order = rank
		if _, refused := effect.(Refused); refused && text(tb, next) != before {
			tb.Fatalf("%+v: refused, and yet the device is\n%s, was\n%s", ev, text(tb, next), before)
		}
	}
	checkVersions(tb, d, next, ev)
	for name, t := range next.Twins {
		raw, err := t.appendJSON(nil)
		if err != nil || string(raw) != text(tb, t) {
			tb.Fatalf("twin %s is written as %s, want %s", name, raw, text(tb, t))
		}
	}
	return next, effects
}

// checkVersions wants versions that never go back while a twin exists.
func checkVersions(tb testing.TB, before, after Device, ev Event) {
	tb.Helper()
	if before.Member.Incarnation != after.Member.Incarnation {
		return
	}
	for name, t := range before.Twins {
		next, ok := after.Twins[name]
		if ok && (next.ExpectedVersion.behind(t.ExpectedVersion) || next.ActualVersion.behind(t.ActualVersion)) {
			tb.Fatalf("%+v: versions of %s went back from %+v %+v to %+v %+v", ev, name, t.ExpectedVersion, t.ActualVersion, next.ExpectedVersion, next.ActualVersion)
		}
		if ok && !same(t.Expected, next.Expected) && next.Expected != nil && t.Type == next.Type && next.ExpectedVersion == t.ExpectedVersion {
			if _, sync := ev.Request.(Sync); !sync { // a Sync may repeat a version
				if _, put := ev.Request.(Put); !put {
					tb.Fatalf("%+v: another expected value of %s with the same version", ev, name)
				}
			}
		}
	}
}

// TestReplay carries out random logs of events twice: the same bytes, and the rules hold.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			pick, now := random(seed), time.UnixMilli(1_000_000)
			var log []Event
			var d Device
			var first []string
			for range 200 {
				now = now.Add(time.Duration(pick(3000)) * time.Millisecond)
				ev := randomEvent(pick, now)
				var effects []Effect
				d, effects = checkStep(t, d, ev)
				log = append(log, ev)
				first = append(first, text(t, effects))
			}
			var again Device
			for i, ev := range log {
				var effects []Effect
				if again, effects = Step(again, ev); text(t, effects) != first[i] {
					t.Fatalf("event %d: %s, the first time %s", i, text(t, effects), first[i])
				}
			}
			if text(t, again) != text(t, d) {
				t.Errorf("replayed:\n%s\nwant\n%s", text(t, again), text(t, d))
			}
		})
	}
}

// FuzzStep is TestReplay with the choices of a fuzzer.
func FuzzStep(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"))
	f.Add([]byte("a put and some updates, as they may be"))
	f.Fuzz(func(t *testing.T, choices []byte) {
		pick := func(n int) int {
			if len(choices) == 0 {
				return 0
			}
			c := int(choices[0])
			choices = choices[1:]
			return c % n
		}
		now := time.UnixMilli(1_000_000)
		var d Device
		for len(choices) > 0 {
			now = now.Add(time.Duration(pick(256)) * time.Second)
			d, _ = checkStep(t, d, randomEvent(pick, now))
		}
	})
}

// cloudSide is what the cloud knows of a device: what is desired there (a Device) and what the
// node reported last (a DeviceStatus), as controller/devices and twin/devicesync have it.
type cloudSide struct {
	generation uint64
	desired    map[string]string
	status     map[string]Twin
	reported   int // number of the newest report
}

func (c *cloudSide) put() Put {
	put := Put{Member: Member{Owner: "cloud", Incarnation: "1", Version: c.generation}}
	for _, name := range []string{"p", "q", "r"} {
		d := Declaration{Name: name, Type: "int"}
		if value, ok := c.desired[name]; ok {
			d.Desired = &value
		}
		put.Properties = append(put.Properties, d)
	}
	return put
}

// TestCloudAndEdge has the cloud and clients on the node change values of a device while
// messages of both directions are lost, repeated and overtaken. Once the newest of each
// direction has arrived, both sides have the same.
func TestCloudAndEdge(t *testing.T) {
	for seed := range uint64(40) {
		pick, now := random(seed), time.UnixMilli(1_000_000)
		cloud := &cloudSide{generation: 1, desired: map[string]string{}}
		var d Device
		step := func(r Request) []Effect {
			now = now.Add(time.Millisecond)
			var effects []Effect
			d, effects = checkStep(t, d, Event{Device: "a/b", Time: now, Request: r})
			return effects
		}
		step(cloud.put())
		type report struct {
			number int
			twins  map[string]Twin
		}
		var down []Put   // on the way to the node
		var up []report  // on the way to the cloud
		pending := false // something changed since the last report
		number := 0
		send := func() {
			number++
			up, pending = append(up, report{number, maps.Clone(d.Twins)}), false
		}
		receive := func(r report) {
			if r.number > cloud.reported { // the link drops what is older
				cloud.reported, cloud.status = r.number, r.twins
			}
		}
		value := func() string { return fmt.Sprint(pick(4)) }
		name := func() string { return []string{"p", "q", "r"}[pick(3)] }
		for range 150 {
			switch pick(7) {
			case 0: // somebody edits the Device
				cloud.generation++
				if pick(4) == 0 {
					delete(cloud.desired, name())
				} else {
					cloud.desired[name()] = value()
				}
				down = append(down, cloud.put())
			case 1, 2: // an app or a mapper
				p := &Patch{Actual: Text(value())}
				if pick(2) == 0 {
					p = &Patch{Expected: Text(value())}
				}
				for _, effect := range step(Update{Twins: map[string]*Patch{name(): p}}) {
					if _, ok := effect.(Report); ok {
						pending = true
					}
				}
			case 3: // a message arrives at the node, any of those on the way, perhaps not for the last time
				if len(down) > 0 {
					i := pick(len(down))
					for _, effect := range step(down[i]) {
						if _, ok := effect.(Report); ok {
							pending = true
						}
					}
					if pick(2) == 0 {
						down = append(down[:i], down[i+1:]...)
					}
				}
			case 4:
				if pending {
					send()
				}
			case 5:
				if len(up) > 0 {
					i := pick(len(up))
					receive(up[i])
					if pick(2) == 0 {
						up = append(up[:i], up[i+1:]...)
					}
				}
			case 6: // lost
				if len(down) > 0 && pick(2) == 0 {
					down = down[1:]
				} else if len(up) > 0 {
					up = up[1:]
				}
			}
		}
		step(cloud.put()) // the newest state arrives in the end, and again
		step(cloud.put())
		send()
		receive(up[len(up)-1])
		for _, name := range []string{"p", "q", "r"} {
			have, want := cloud.status[name], d.Twins[name]
			if text(t, have) != text(t, want) {
				t.Fatalf("seed %d: the cloud has %s of %s, the node %s", seed, text(t, have), name, text(t, want))
			}
			desired, ok := cloud.desired[name]
			if ok != (want.Desired != nil) || ok && *want.Desired != desired {
				t.Fatalf("seed %d: %s is desired as %q in the cloud, %v on the node", seed, name, desired, want.Desired)
			}
		}
		// What the cloud changes last is what holds.
		cloud.generation++
		for _, name := range []string{"p", "q", "r"} {
			cloud.desired[name] = "7"
		}
		step(cloud.put())
		for name, twin := range d.Twins {
			if twin.Expected == nil || twin.Expected.Value != "7" {
				t.Fatalf("seed %d: %s is %+v after the cloud's last word", seed, name, twin.Expected)
			}
		}
		// And what an app changes after that holds over a repeated Put.
		step(Update{Twins: map[string]*Patch{"p": {Expected: Text("8")}}})
		step(cloud.put())
		if got := d.Twins["p"].Expected.Value; got != "8" {
			t.Fatalf("seed %d: p is %s after a repeated Put", seed, got)
		}
	}
}

// TestSyncAndEdge is the same with versions: the cloud sends Sync, a refused one makes the
// node report what it has, and the cloud adopts what is newer.
func TestSyncAndEdge(t *testing.T) {
	type held struct {
		value   string
		version Version
	}
	for seed := range uint64(40) {
		pick, now := random(seed), time.UnixMilli(1_000_000)
		var d Device
		cloud := held{}
		var down, up []held
		step := func(r Request) {
			now = now.Add(time.Millisecond)
			var effects []Effect
			d, effects = checkStep(t, d, Event{Device: "a/b", Time: now, Request: r})
			for _, effect := range effects {
				if report, ok := effect.(Report); ok && len(report.Twins) > 0 {
					twin := d.Twins["p"]
					up = append(up, held{deref(&twin.Expected.Value), twin.ExpectedVersion})
				}
			}
		}
		edit := func(value string) { step(Update{Twins: map[string]*Patch{"p": {Expected: &value}}}) }
		deliver := func(h held) {
			step(Sync{Twins: map[string]*Patch{"p": {Expected: &h.value, ExpectedVersion: &h.version}}})
		}
		receive := func(h held) {
			switch {
			case h.version.Edge > cloud.version.Edge: // an edit of the node that the cloud did not know
				cloud = held{h.value, Version{Cloud: max(cloud.version.Cloud, h.version.Cloud), Edge: h.version.Edge}}
			case h.version == cloud.version:
				cloud.value = h.value
			}
		}
		step(Put{})
		edit("0")
		for range 120 {
			switch pick(6) {
			case 0:
				cloud = held{fmt.Sprint(pick(9)), Version{Cloud: cloud.version.Cloud + 1, Edge: cloud.version.Edge}}
				down = append(down, cloud)
			case 1:
				edit(fmt.Sprint(pick(9)))
			case 2:
				if len(down) > 0 {
					deliver(down[pick(len(down))])
				}
			case 3:
				if len(up) > 0 {
					receive(up[pick(len(up))])
				}
			case 4:
				down = down[min(len(down), pick(2)):]
			case 5:
				up = up[min(len(up), pick(2)):]
			}
		}
		for range 3 { // both send what they have until nothing changes
			twin := d.Twins["p"]
			receive(held{twin.Expected.Value, twin.ExpectedVersion})
			deliver(cloud)
		}
		if twin := d.Twins["p"]; twin.Expected.Value != cloud.value || twin.ExpectedVersion != cloud.version {
			t.Fatalf("seed %d: the node has %q %+v, the cloud %q %+v", seed, twin.Expected.Value, twin.ExpectedVersion, cloud.value, cloud.version)
		}
	}
}
