package process

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// leaderless has the test's program end its first thread and sleep in others.
const leaderless = "EDGEKIT_TEST_LEADERLESS"

func TestMain(m *testing.M) {
	if os.Getenv(leaderless) == "" {
		os.Exit(m.Run())
	}
	go func() {
		for unix.Gettid() == unix.Getpid() {
			runtime.Gosched() // the first thread ends below
		}
		select {}
	}()
	runtime.LockOSThread() // main runs on the first thread
	if unix.Gettid() == unix.Getpid() {
		_, _, _ = unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
	}
	os.Exit(1)
}

func TestStartAndStop(t *testing.T) {
	ctx, table := t.Context(), newTable(t)
	r, err := table.Start(sleep("a"))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Alive() {
		t.Fatal("not alive after its start")
	}
	if _, err := table.Start(sleep("a")); err == nil || !strings.Contains(err.Error(), "already runs") {
		t.Errorf("second start of one name: %v", err)
	}
	if err := table.Stop(ctx, "a", time.Minute); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Error("alive after Stop")
	}
	if _, err := table.Lookup("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("record after Stop: %v", err)
	}
	if err := table.Stop(ctx, "a", time.Minute); err != nil {
		t.Errorf("second Stop: %v", err)
	}
}

func TestOutdated(t *testing.T) {
	table := newTable(t)
	program := filepath.Join(t.TempDir(), "sleep")
	b, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, b, 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := table.Start(Spec{Name: "a", Path: program, Args: []string{"1000"}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Outdated() {
		t.Error("outdated at once")
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	if !r.Outdated() {
		t.Error("not outdated when its file is gone")
	}
}

func TestStopKillsWhatDoesNotObey(t *testing.T) {
	table := newTable(t)
	r, err := table.Start(Spec{Name: "stubborn", Path: "/bin/sh", Args: []string{"-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"}})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { text, _ := table.Tail("stubborn", 1); return text == "ready" })
	if err := table.Stop(t.Context(), "stubborn", 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Error("alive after Stop")
	}
}

// TestAliveUntilTheLastThreadEnds has a program whose first thread has ended: its state is that of
// a zombie, and it still has its files.
func TestAliveUntilTheLastThreadEnds(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	table := newTable(t)
	r, err := table.Start(Spec{Name: "leaderless", Path: os.Args[0], Env: []string{leaderless + "=1"}})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { state, _, _ := readStat(r.PID); return state == 'Z' })
	if !r.Alive() {
		t.Error("not alive although it has a thread")
	}
	if err := table.Kill(t.Context(), "leaderless"); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Error("alive after Kill")
	}
}

func TestStopSparesAReusedPID(t *testing.T) {
	table := newTable(t)
	r, err := table.Start(sleep("a"))
	if err != nil {
		t.Fatal(err)
	}
	// A record with this pid and another start time is of a process long gone.
	other := r
	other.Name, other.Start = "b", r.Start-1
	if err := table.save(other); err != nil {
		t.Fatal(err)
	}
	if err := table.Stop(t.Context(), "b", time.Minute); err != nil {
		t.Fatal(err)
	}
	if !r.Alive() {
		t.Error("Stop hit a process that the record does not mean")
	}
}

func TestKillStraysFindsTheUnrecorded(t *testing.T) {
	table, other := newTable(t), newTable(t)
	r, err := table.Start(sleep("a"))
	if err != nil {
		t.Fatal(err)
	}
	bystander, err := other.Start(sleep("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(table.recordFile("a")); err != nil {
		t.Fatal(err)
	}
	if err := table.KillStrays(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.Alive() {
		t.Error("the stray lives")
	}
	if !bystander.Alive() {
		t.Error("another table's program was killed")
	}
}

func TestListSkipsABrokenRecord(t *testing.T) {
	table := newTable(t)
	for _, name := range []string{"first", "second"} {
		if _, err := table.Start(sleep(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(table.recordFile("broken"), []byte(`{"pid": 1`), 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := table.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 2 || all[0].Name != "first" || all[1].Name != "second" {
		t.Errorf("list %v", all)
	}
}

func TestRecordRoundTrip(t *testing.T) {
	want := Record{identity: identity{PID: 7, Start: 8, Boot: "b"}, Name: "n", Command: []string{"c"}}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Record
	if err := json.Unmarshal(b, &got); err != nil || got.identity != want.identity || got.Name != want.Name {
		t.Errorf("%s reads back as %+v, %v", b, got, err)
	}
}

func TestLastLines(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"a\nb\nc\n", "b\nc"},
		{"a\n\x00\x00\x00b\n", "a\nb"},
	} {
		if got := lastLines([]byte(tt.in), 2); got != tt.want {
			t.Errorf("lastLines(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a b) c) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 42 1 1"))
	f.Add([]byte(""))
	f.Add([]byte("1 (x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if state, _, err := parseStat(b); err == nil && state == 0 {
			t.Errorf("no state in %q", b)
		}
	})
}

func TestParseStat(t *testing.T) {
	state, start, err := parseStat([]byte("1 (a b) c) S 1 1 1 0 -1 4194560 1 1 1 1 1 1 1 1 20 0 1 0 42 1 1"))
	if state != 'S' || start != 42 || err != nil {
		t.Errorf("%c %d %v", state, start, err)
	}
}

func newTable(t *testing.T) *Table {
	t.Helper()
	table, err := NewTable(filepath.Join(t.TempDir(), "table"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.KillStrays(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return table
}

func sleep(name string) Spec { return Spec{Name: name, Path: "/bin/sleep", Args: []string{"1000"}} }

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("waited for a minute")
		case <-tick.C:
		}
	}
}
