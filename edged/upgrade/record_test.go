package upgrade

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(killVariable) != "" {
		os.Exit(killedProgram())
	}
	if os.Getenv(termVariable) != "" {
		os.Exit(termProgram())
	}
	// The first Notify of a process starts a goroutine that stays. In a bubble of synctest it would
	// be of that bubble, and a test that runs alone would end the process.
	early := make(chan os.Signal, 1)
	signal.Notify(early, os.Interrupt)
	signal.Stop(early)
	goleak.VerifyTestMain(m)
}

var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// program1 and program2 are releases of tests.
var (
	program1 = Release{Version: "v1.0.0", Digest: "sha256:1", Size: 1, StoreFormat: 2, StoreFormatsRead: []int{1, 2}}
	program2 = Release{Version: "v2.0.0", Digest: "sha256:2", Size: 2, StoreFormat: 2, StoreFormatsRead: []int{1, 2}}
)

// onTrial is a record of a trial in slot a that was started.
func onTrial(t testing.TB) record {
	t.Helper()
	r := record{Phase: Idle}
	for _, step := range []func(record) (record, error){
		func(r record) (record, error) { return r.begin("job", "f", baseFile{Path: "/base", Release: program1}) },
		record.empty,
		func(r record) (record, error) { return r.verified(program2) },
		func(r record) (record, error) {
			return r.switched(Health{}, "v1.0.0", true, []string{"default/web"})
		},
		record.started,
	} {
		next, err := step(r)
		if err != nil {
			t.Fatal(err)
		}
		r = next
	}
	return r
}

// events are all steps.
var events = map[string]func(record) (record, error){
	"begin": func(r record) (record, error) {
		return r.begin("next", "g", baseFile{Path: "/base", Release: program1})
	},
	"abandon":   record.abandon,
	"empty":     record.empty,
	"verified":  func(r record) (record, error) { return r.verified(program2) },
	"switched":  func(r record) (record, error) { return r.switched(Health{}, "v1.0.0", false, nil) },
	"started":   record.started,
	"stopped":   record.stopped,
	"committed": func(r record) (record, error) { return r.committed(noon) },
	"rolled":    func(r record) (record, error) { return r.rolledBack("because", noon) },
	"returned":  func(r record) (record, error) { return r.returned("id", "asked for", noon) },
	"dropped":   func(r record) (record, error) { return r.dropped("", "gone", noon), nil },
	"replaced":  func(r record) (record, error) { return r.replaced(noon), nil },
	"damaged":   func(r record) (record, error) { return r.damaged(), nil },
}

// TestSteps goes all ways that there are, and holds each record that it meets to what must be true
// of all. It checks that a refused step changes nothing, and that the record survives its file.
func TestSteps(t *testing.T) {
	seen := map[string]bool{}
	todo := []record{{Phase: Idle}}
	for len(todo) > 0 {
		r := todo[0]
		todo = todo[1:]
		text, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(text)] {
			continue
		}
		seen[string(text)] = true
		back, err := decodeRecord(text)
		if again, _ := back.encode(); err != nil || string(again) != string(text) {
			t.Fatalf("%s: %v", text, err)
		}
		for name, event := range events {
			if name == "dropped" && r.Active == Base || name == "damaged" && r.Phase != Trial {
				continue // Boot does this to a slot and to a trial only
			}
			next, err := event(r)
			if after, _ := r.encode(); string(after) != string(text) {
				t.Fatalf("%s changed its argument: %s", name, text)
			}
			if err != nil {
				if !reflect.DeepEqual(next, r) {
					t.Fatalf("%s was refused (%v) and changed the record", name, err)
				}
				continue
			}
			if err := next.check(); err != nil {
				t.Fatalf("%s of %s: %v", name, text, err)
			}
			if r.Active != next.Active && name != "committed" && name != "returned" && name != "dropped" && name != "replaced" {
				t.Fatalf("%s changes the committed program: %s", name, text)
			}
			todo = append(todo, next)
		}
	}
	if len(seen) < 30 || len(seen) > 5000 {
		t.Errorf("%d records", len(seen))
	}
}

// TestStepsRefused: what does not fit the phase is refused by the error that callers know.
func TestStepsRefused(t *testing.T) {
	trial := onTrial(t)
	committed, err := trial.committed(noon)
	if err != nil || committed.Active != A || committed.Previous != Base || committed.Outcome.To != "v2.0.0" || committed.Outcome.ID != "job" {
		t.Fatalf("%+v, %v", committed, err)
	}
	if _, err := events["begin"](trial); !errors.Is(err, ErrBusy) {
		t.Errorf("a download during a trial: %v", err)
	}
	if _, err := trial.started(); !errors.Is(err, ErrNothing) {
		t.Errorf("a second start without an end: %v", err)
	}
	if _, err := (record{Phase: Idle}).returned("", "", noon); !errors.Is(err, ErrNothing) {
		t.Errorf("back from the base: %v", err)
	}
	old := committed.clone()
	old.Base.StoreFormatsRead, old.Base.StoreFormat = []int{1}, 1
	if _, err := old.returned("", "", noon); err == nil || !strings.Contains(err.Error(), "the store has format 2") {
		t.Errorf("back to a program that cannot read the store: %v", err)
	}
	next, err := events["begin"](committed)
	if err != nil || next.Candidate != B {
		t.Errorf("the next download: %+v, %v", next, err)
	}
}

// TestHealthCheck refuses gates that nothing passes.
func TestHealthCheck(t *testing.T) {
	for _, h := range []Health{{Timeout: time.Second}, {Stable: 10 * time.Minute}, {Timeout: -1}} {
		if err := h.check(); err == nil {
			t.Errorf("%+v is accepted", h)
		}
	}
}

// TestRecordLimits: the largest record that can be has its file.
func TestRecordLimits(t *testing.T) {
	r := onTrial(t)
	r.ID = strings.Repeat("i", maxID)
	r.Pods = nil
	for i := range maxPods {
		r.Pods = append(r.Pods, fmt.Sprintf("%0*d", maxPodKey, i))
	}
	r, err := r.rolledBack(strings.Repeat("\x00", 2*maxReason), noon) // six bytes each in JSON
	if err != nil {
		t.Fatal(err)
	}
	r.Pods = nil
	if text, err := r.encode(); err != nil || len(text) > maxRecord {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	trial := onTrial(t)
	for i := range maxPods {
		trial.Pods = append(trial.Pods, fmt.Sprintf("%0*d", maxPodKey, i))
	}
	trial.Pods = trial.Pods[1:]
	if text, err := trial.encode(); err != nil || len(text) > maxRecord {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if keys := readyPods(map[string]bool{strings.Repeat("x", 300): true, "a/b": true, "a/c": false}); !reflect.DeepEqual(keys, []string{"a/b"}) {
		t.Errorf("%q", keys)
	}
}

// TestLoad: of two copies there is always one that can be read, and of a trial only one that was
// written.
func TestLoad(t *testing.T) {
	write := func(t *testing.T, dir, name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trial := onTrial(t)
	first, err1 := trial.encode()
	committed, err2 := trial.committed(noon)
	second, err3 := committed.encode()
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		boot, prev string
		want       Phase
		active     Slot
		damaged    bool
	}{
		"none":                      {"", "", Idle, Base, false},
		"both":                      {string(second), string(first), Committed, A, false},
		"between the renames":       {"", string(second), Committed, A, false},
		"torn":                      {string(second[:100]), string(first), RolledBack, Base, true},
		"torn, committed before":    {string(first[:40]), string(second), Committed, A, true},
		"empty":                     {" ", string(second), Committed, A, true},
		"both torn":                 {string(second[:100]), "x", Idle, Base, true},
		"too long":                  {string(second) + strings.Repeat(" ", maxRecord), "", Idle, Base, true},
		"of a newer form":           {strings.Replace(string(second), "record 1 ", "record 2 ", 1), "", Idle, Base, true},
		"one bit":                   {strings.Replace(string(second), "v2.0.0", "v3.0.0", 1), "", Idle, Base, true},
		"right sum, wrong content":  {head(`{"phase":"Trial"}`), "", Idle, Base, true},
		"right sum, no such active": {head(`{"phase":"Committed","active":"a"}`), "", Idle, Base, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if test.boot != "" {
				write(t, dir, bootFile, []byte(test.boot))
			}
			if test.prev != "" {
				write(t, dir, prevFile, []byte(test.prev))
			}
			r, err := load(dir)
			if r.Phase != test.want || r.Active != test.active || (err != nil) != test.damaged {
				t.Errorf("%s, active %s, %v", r.Phase, r.Active, err)
			}
		})
	}
}

// head puts the first line before a body.
func head(body string) string {
	return fmt.Sprintf("edgekit boot record 1 %08x\n%s", crc32.ChecksumIEEE([]byte(body)), body)
}

// FuzzRecord: whatever is in the file, reading it gives a record that a step may be made from.
func FuzzRecord(f *testing.F) {
	text, err := onTrial(f).encode()
	if err != nil {
		f.Fatal(err)
	}
	_, body, _ := strings.Cut(string(text), "\n")
	f.Add(body)
	f.Add(`{"phase":"Committed","active":"b","slots":{"b":{}},"health":{"timeout":-1}}`)
	f.Fuzz(func(t *testing.T, body string) {
		r, err := decodeRecord([]byte(head(body)))
		if err != nil {
			return
		}
		for name, event := range events {
			if name == "dropped" && r.Active == Base || name == "damaged" && r.Phase != Trial {
				continue
			}
			if next, err := event(r); err == nil && next.check() != nil {
				t.Errorf("%s: %v", name, next.check())
			}
		}
	})
}

// TestAttackRecord bounds what reading a boot record costs.
func TestAttackRecord(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "upgrade_boot_record", Decode: func(b []byte) { _, _ = decodeRecord([]byte(head(string(b[:min(len(b), maxRecord-64)])))) },
		Before: `{"phase":"Idle","pods":[`, Between: ",", After: `""]}`, Units: []string{`""`, `"a"`, "null"},
		Whole: [][]byte{decodetest.Keys(`{"slots":{`, "{}", "}}"), decodetest.Keys(`{"x":{`, "[]", "}}")}, Tokens: decodetest.JSONTokens(),
	})
}

// TestRelease: what a slot's manifest.json says is stable: older programs read it.
func TestRelease(t *testing.T) {
	text, err := json.Marshal(program2)
	if want := `{"version":"v2.0.0","digest":"sha256:2","size":2,"storeFormat":2,"storeFormatsRead":[1,2]}`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
}
