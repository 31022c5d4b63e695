package twin_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestConditions keeps conditions by type, with the time when the status last changed, over a
// restart of the engine.
func TestConditions(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	engine, stop := runUntil(t, store)
	must(t, engine.Put(t.Context(), "a/b", twin.Put{}))
	set := func(conditions ...twin.Condition) error {
		_, err := engine.Do(t.Context(), twin.Call{Device: "a/b", Request: twin.SetConditions{Conditions: conditions}})
		return err
	}
	must(t, set(twin.Condition{Type: "Connected", Reason: "OpenFailed", Message: "no route"}, twin.Condition{Type: "Applied", Status: true, Reason: "Applied"}))
	d, _ := engine.Device("a/b")
	first := d.Conditions
	if len(first) != 2 || first[0].Type != "Applied" || first[1].Message != "no route" || first[0].Time.IsZero() {
		t.Errorf("%+v", first)
	}
	must(t, set(twin.Condition{Type: "Connected", Status: true, Reason: "Connected"}))
	for _, bad := range []twin.Condition{{}, {Type: "A b", Reason: "R"}, {Type: "A"}, {Type: "A", Reason: "R", Message: strings.Repeat("x", 1025)}, {Type: "A", Reason: "R", Message: "\xff"}} {
		if err := set(bad); !errors.Is(err, &twin.Error{Code: twin.CodeInvalid}) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	var many []twin.Condition
	for c := 'A'; c <= 'Q'; c++ {
		many = append(many, twin.Condition{Type: string(c), Reason: "R"})
	}
	if err := set(many...); !errors.Is(err, &twin.Error{Code: twin.CodeTooLarge}) {
		t.Errorf("17 types: %v", err)
	}
	stop()
	engine, stop = runUntil(t, store)
	defer stop()
	<-engine.Ready()
	d, _ = engine.Device("a/b")
	if len(d.Conditions) != 2 || !d.Conditions[1].Status || !slices.Equal(d.Conditions[:1], first[:1]) {
		t.Errorf("after a restart: %+v", d.Conditions)
	}
	if d.LastReport.Before(time.Now().Add(-time.Hour)) {
		t.Errorf("a condition is a report: %v", d.LastReport)
	}
}
