package hubtest

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/hub"
)

func stateDown(r *rig) {
	down := r.dir.Down("a")
	for i := range 300 {
		down.Put(key(strconv.Itoa(i)), 1, "body "+strconv.Itoa(i))
	}
	e := r.up("a", nil)
	r.until("300 objects arrived", func() bool { return e.down.Len() == 300 })
	for i := range 300 {
		down.Put(key(strconv.Itoa(i)), 2, "new")
	}
	down.Put(key("late"), 7, "x")
	r.until("changes arrived", func() bool {
		for i := range 300 {
			if e.down.Held(key(strconv.Itoa(i))) != "2" {
				return false
			}
		}
		return e.down.Held(key("late")) == "7"
	})
	r.inOrder(e.down)
}

// inOrder checks that no key ever went back.
func (r *rig) inOrder(s *Sink) {
	r.Helper()
	last := map[hub.Key]string{}
	for _, o := range s.Log() {
		if CompareVersions(o.Version, last[o.Key]) < 0 {
			r.Errorf("%v went from %s to %s", o.Key, last[o.Key], o.Version)
		}
		last[o.Key] = o.Version
	}
}

func stateUp(r *rig) {
	e := r.up("a", nil)
	for i := range 50 {
		e.up.Put(key(strconv.Itoa(i)), i+1, "report")
	}
	sink := r.dir.Up("a")
	r.until("reports arrived", func() bool { return sink.Len() == 50 })
	r.until("all are acked", func() bool { return len(e.up.Seen()) == 50 })
	// The AckedSource has forgotten what was acked, so a new session has nothing to send.
	applied := len(sink.Log())
	sessions := e.sessions()
	r.tr.Cut("a")
	r.until("a new session", func() bool { return e.sessions() > sessions })
	r.connected(e)
	e.up.Put(key("last"), 100, "report")
	r.until("the last arrived", func() bool { return sink.Held(key("last")) == "100" })
	if n := len(sink.Log()); n != applied+1 {
		r.Errorf("%d objects travelled again", n-applied-1)
	}
}

func deletes(r *rig) {
	down := r.dir.Down("a")
	down.Put(key("x"), 1, "x")
	down.Put(key("y"), 2, "y")
	e := r.up("a", nil)
	r.until("both arrived", func() bool { return e.down.Len() == 2 })
	down.Delete(key("x"), 3)
	r.until("the delete arrived", func() bool { return e.down.Len() == 1 })
	// A delete while the node is offline is found by comparing.
	e.stop()
	down.Delete(key("y"), 4)
	e = r.edgeWith("a", e, nil)
	r.until("the other delete arrived", func() bool { return e.down.Len() == 0 })
	// An edge's report of a delete is sent although the cloud's Sink is Forgetful.
	e.up.Put(key("z"), 5, "z")
	e.up.Delete(key("z"), 6)
	sink := r.dir.Up("a")
	r.until("the delete went up", func() bool {
		log := sink.Log()
		return len(log) > 0 && log[len(log)-1].Deleted
	})
}

func digestMatches(r *rig) {
	down := r.dir.Down("a")
	for i := range 20 {
		down.Put(key(strconv.Itoa(i)), 1, "x")
	}
	e := r.up("a", nil)
	r.until("all arrived", func() bool { return e.down.Len() == 20 })
	loads, sessions := down.Loads(), e.sessions()
	r.tr.Cut("a")
	r.until("a new session", func() bool { return e.sessions() > sessions })
	r.connected(e)
	down.Put(key("new"), 2, "x")
	r.until("the new one arrived", func() bool { return e.down.Held(key("new")) == "2" })
	if n := down.Loads() - loads; n != 1 {
		r.Errorf("%d objects were loaded where one had changed", n)
	}
}

func changesWhileOffline(r *rig) {
	down := r.dir.Down("a")
	down.Put(key("x"), 1, "x")
	down.Put(key("same"), 1, "x")
	e := r.up("a", nil)
	r.until("both arrived", func() bool { return e.down.Len() == 2 })
	e.stop()
	for v := 2; v <= 11; v++ {
		down.Put(key("x"), v, "x")
		e.up.Put(key("up"), v, "x")
	}
	before := len(e.down.Log())
	e = r.edgeWith("a", e, nil)
	sink := r.dir.Up("a")
	r.until("the newest are there", func() bool { return e.down.Held(key("x")) == "11" && sink.Held(key("up")) == "11" })
	if n := len(e.down.Log()) - before; n != 1 {
		r.Errorf("ten changes arrived as %d", n)
	}
	if n := len(sink.Log()); n != 1 {
		r.Errorf("ten reports arrived as %d", n)
	}
}

// laggingOwner is a cloud whose view is older than what the node holds.
func laggingOwner(r *rig) {
	down := r.dir.Down("a")
	down.Put(key("x"), 5, "old")
	e := r.newEdge()
	ahead := []hub.Object{{Key: key("x"), Version: "9"}, {Key: key("y"), Version: "8"}}
	if err := e.down.Apply(r.ctx, ahead); err != nil {
		r.Fatal(err)
	}
	// The cloud does not see x at 9, nor y at all: its Load returns ErrLagging.
	asked := make(chan hub.Key, 64)
	down.FailLoad(func(k hub.Key, held string) error {
		if held == "" {
			return nil
		}
		select {
		case asked <- k:
		default:
		}
		return hub.ErrLagging
	})
	e = r.edgeWith("a", e, nil)
	r.connected(e)
	for seen := map[hub.Key]bool{}; len(seen) < 2; {
		select {
		case k := <-asked:
			seen[k] = true
		case <-r.ctx.Done():
			r.Fatal("the cloud was not asked about what it does not see")
		}
	}
	if e.down.Held(key("x")) != "9" || e.down.Held(key("y")) != "8" {
		r.Fatal("a lagging cloud undid what the node holds")
	}
	// It catches up: x is at 10, y is really gone.
	down.Put(key("x"), 10, "new")
	down.Delete(key("y"), 11)
	down.FailLoad(nil)
	r.until("the truth arrived", func() bool { return e.down.Held(key("x")) == "10" && e.down.Held(key("y")) == "" })
	r.inOrder(e.down)
}

// largeObjects sends bodies far larger than a fragment, and one over the limit.
func largeObjects(r *rig) {
	down := r.dir.Down("a")
	big := strings.Repeat("0123456789", 200_000)
	for i := range 3 {
		down.Put(key(fmt.Sprint("big", i)), 1, big)
	}
	down.Put(key("too big"), 1, strings.Repeat("x", 5<<20))
	down.Put(key("small"), 1, "x")
	e := r.up("a", nil)
	r.until("all that fit arrived", func() bool { return e.down.Len() == 4 })
	for _, o := range e.down.Log() {
		if strings.HasPrefix(o.Key.Name, "big") && !bytes.Equal(o.Body, []byte(big)) {
			r.Errorf("%v was mangled", o.Key)
		}
	}
}

// sinkFailures uses a sink that refuses one object for good, and fails for a while on
// another.
func sinkFailures(r *rig) {
	failures := 0
	sink := r.dir.Up("a")
	sink.FailApply(func(objects []hub.Object) error {
		for _, o := range objects {
			if o.Key == key("bad") {
				return &hub.Error{Code: hub.CodeInvalid, Text: "never"}
			}
			if o.Key == key("later") && failures < 2 {
				failures++
				return errors.New("try again")
			}
		}
		return nil
	})
	e := r.edge("a", nil)
	for i := range 10 {
		e.up.Put(key(strconv.Itoa(i)), i+1, "x")
	}
	e.up.Put(key("bad"), 11, "x")
	e.up.Put(key("later"), 12, "x")
	r.until("all but the bad one arrived", func() bool { return sink.Len() == 11 })
	r.until("the outbox is empty, the bad one dropped", func() bool { return len(e.up.Seen()) == 12 })
	if sink.Held(key("bad")) != "" {
		r.Error("the bad object was applied")
	}
}
