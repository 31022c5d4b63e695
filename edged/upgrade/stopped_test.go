package upgrade

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestRollbackStopped goes back on the disk of a node whose program does not run, and starts it.
func TestRollbackStopped(t *testing.T) {
	committed := func(r *record) {
		*r = record{Phase: Committed, Active: B, Previous: A, Base: r.Base, Slots: r.Slots}
	}
	for name, test := range map[string]struct {
		change func(*record)
		to     string
		want   Next
		err    string
		runs   string
	}{
		"a trial that cannot start":   {change: func(r *record) { r.Started, r.Tries = true, 1 }, want: Next{Slot: A, Version: "v2", Instead: "v3"}, runs: "a"},
		"a trial that comes next":     {want: Next{Slot: A, Version: "v2", Instead: "v3"}, runs: "a"},
		"the committed program":       {change: committed, to: "v2", want: Next{Slot: A, Version: "v2", Instead: "v3"}, runs: "a"},
		"to the base":                 {change: func(r *record) { committed(r); r.Previous = Base }, want: Next{Version: "v1", Instead: "v3"}, runs: "base"},
		"another version":             {change: committed, to: "v7", err: "can go back to v2, and not to v7", runs: "b"},
		"nothing":                     {change: func(r *record) { *r = record{Phase: Idle} }, err: "nothing to do that with", runs: "base"},
		"a store that is too new":     {change: func(r *record) { committed(r); newer := r.Slots[B]; newer.StoreFormat = 3; r.Slots[B] = newer }, err: "upgrade to a version that can", runs: "b"},
		"a trial with another wanted": {to: "v1", err: "can go back to v2, and not to v1", runs: "b"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, test.change)
			next, err := RollbackStopped(filepath.Dir(m.dir), test.to, "rolled back at the machine", time.Unix(0, 0))
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) || next != test.want {
				t.Errorf("%+v, %v", next, err)
			}
			if ran, s := m.boot(false); ran != test.runs || s.Problem != "" {
				t.Errorf("%s runs, %s", ran, s.Problem)
			}
		})
	}
	m := newMachine(t, committed)
	if _, err := rollbackStopped(fullDisk{err: syscall.ENOSPC}, m.dir, "", "", time.Unix(0, 0)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if ran, _ := m.boot(false); ran != "b" {
		t.Errorf("after a full disk %s runs", ran)
	}
	for _, file := range []string{bootFile, prevFile} {
		if err := os.WriteFile(filepath.Join(m.dir, file), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := RollbackStopped(filepath.Dir(m.dir), "", "", time.Unix(0, 0)); !errors.Is(err, errRecord) {
		t.Errorf("a damaged record: %v", err)
	}
}
