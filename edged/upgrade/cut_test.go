package upgrade

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// errCut is the panic of a process whose power was cut.
var errCut = errors.New("the power was cut")

// tree is the content of a folder: files, and folders with a nil content.
type tree map[string][]byte

func readTree(dir string) tree {
	t := make(tree)
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var content []byte
		if !d.IsDir() {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
			content = append(content, 0) // not nil
		}
		t[path] = content
		return nil
	})
	return t
}

// restore makes dir what t says.
func (t tree) restore(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	for path, content := range t {
		if content == nil {
			err = errors.Join(err, os.MkdirAll(path, 0o700))
		}
	}
	for path, content := range t {
		if content != nil {
			err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content[:len(content)-1], 0o700))
		}
	}
	return err
}

// powerDisk is a disk that loses its power at an operation. What was not made durable by syncDir
// may be lost then: of the operations since, in their order, any number has reached the disk.
type powerDisk struct {
	osDisk
	dir   string // the slots
	left  int    // operations until the cut; negative: none
	count int    // operations
	rng   *rand.Rand
	since []tree // after each operation since the last syncDir
}

// step does one operation, or the part of it that a cut leaves.
func (d *powerDisk) step(do func() error, torn func() error) error {
	near := d.left >= 0 && d.left < 20 // snapshots are needed only shortly before a cut
	if near && len(d.since) == 0 {
		d.since = []tree{readTree(d.dir)}
	}
	d.count++
	if d.left--; d.left == -1 {
		d.left = -2
		if err := torn(); err != nil {
			panic(err)
		}
		d.since = append(d.since, readTree(d.dir))
		if err := d.since[d.rng.IntN(len(d.since))].restore(d.dir); err != nil {
			panic(err)
		}
		panic(errCut)
	}
	if d.left < -1 {
		d.left = -2
	}
	err := do()
	if near {
		d.since = append(d.since, readTree(d.dir))
	}
	return err
}

func (d *powerDisk) write(name string, content []byte) error {
	return d.step(func() error { return os.WriteFile(name, content, 0o600) }, func() error {
		return os.WriteFile(name, content[:d.rng.IntN(len(content)+1)], 0o600)
	})
}

func (d *powerDisk) rename(from, to string) error {
	return d.step(func() error { return d.osDisk.rename(from, to) }, func() error { return nil })
}

func (d *powerDisk) remove(name string) error {
	return d.step(func() error { return d.osDisk.remove(name) }, func() error {
		return os.RemoveAll(filepath.Join(name, Program)) // some of what is below
	})
}

func (d *powerDisk) mkdir(name string) error {
	return d.step(func() error { return d.osDisk.mkdir(name) }, func() error { return nil })
}

func (d *powerDisk) syncDir(dir string) error {
	_, err := os.Stat(dir)
	err = d.step(func() error { return err }, func() error { return nil })
	d.since = nil
	return err
}

// execCall is the panic of a process that another program replaces.
type execCall struct{ path string }

// world is a node of which the power is cut.
type world struct {
	t         *testing.T
	dir       string
	base      string
	disk      *powerDisk
	bad       bool     // programs are not healthy
	goals     []string // versions to upgrade to
	tries     int      // of goals
	running   string   // version that runs
	committed string   // version whose commit has returned
	pending   bool     // a commit or a return was begun
	started   map[string]bool
	reasons   []string
}

// Fetch implements Fetcher: a program is its version.
func (w *world) Fetch(_ context.Context, r Request, to Destination) (Release, error) {
	if err := to.Accept(program2); err != nil {
		return Release{}, err
	}
	name := filepath.Join(to.Dir, Program)
	err := errors.Join(w.disk.write(name, []byte(r.Version)), os.Chmod(name, 0o755), w.disk.write(filepath.Join(to.Dir, Control), []byte("tool")))
	digest, err2 := fileDigest(name)
	return Release{Version: r.Version, Digest: digest, Size: int64(len(r.Version)), StoreFormat: 2, StoreFormatsRead: []int{1, 2}}, errors.Join(err, err2)
}

// boot starts the base, and what that starts.
func (w *world) boot() (s Start) {
	b := booter{dir: filepath.Join(w.dir, SlotsDir), self: w.base, disk: w.disk, now: time.Now, exec: func(path string, _, _ []string) error {
		if _, err := os.Stat(path); err != nil {
			return err
		}
		panic(execCall{path})
	}}
	defer func() {
		switch p := recover().(type) {
		case nil:
			w.start(w.base, s)
		case execCall:
			s = b.inSlot(Slot(filepath.Base(filepath.Dir(p.path))), w.base, "")
			w.start(p.path, s)
		default:
			panic(p)
		}
	}()
	return b.boot()
}

// start checks what runs now.
func (w *world) start(path string, s Start) {
	text, err := os.ReadFile(path)
	if err != nil || !strings.HasPrefix(string(text), "v") || len(text) != 2 {
		w.t.Fatalf("what runs is %q, %v", text, err)
	}
	w.running = string(text)
	r, err := load(filepath.Join(w.dir, SlotsDir))
	if err != nil {
		w.t.Fatalf("the boot record: %v", err)
	}
	for _, slot := range []Slot{r.Active, r.Previous} {
		name := filepath.Join(w.dir, SlotsDir, string(slot), Program)
		if digest, err := fileDigest(name); slot != Base && (err != nil || digest != r.Slots[slot].Digest) {
			w.t.Fatalf("slot %s should hold %s: %v", slot, r.Slots[slot].Version, err)
		}
	}
	switch {
	case s.Trial && w.started[w.running]:
		w.t.Fatalf("%s runs again, uncommitted after an unclean start", w.running)
	case s.Trial:
		w.started[w.running] = true
	case s.Slot != r.Active:
		w.t.Fatalf("slot %s runs, and %s is committed", s.Slot, r.Active)
	case w.running != w.committed && !w.pending:
		w.t.Fatalf("%s runs, and %s was committed", w.running, w.committed)
	}
	if !s.Trial {
		w.committed, w.pending = w.running, false
	}
	if store, err := os.ReadFile(filepath.Join(w.dir, "meta", "store")); err != nil || string(store) != "pods" {
		w.t.Fatalf("the store: %q, %v", store, err)
	}
}

// live is one process from its start to its end. It returns false when there is nothing more to do.
func (w *world) live(ctx context.Context) (more bool) {
	var s Start
	defer func() {
		if s.tail != nil {
			s.tail.close()
		}
		if p := recover(); p == errCut { //nolint:errorlint // the very value
			more = true
		} else if p != nil {
			panic(p)
		}
	}()
	s = w.boot()
	u, err := New(Config{DataDir: w.dir, Start: s, Fetcher: w, Release: Release{Version: w.running, StoreFormat: 2, StoreFormatsRead: []int{1, 2}}, Check: func() error {
		if w.bad && s.Trial {
			return errors.New("not well")
		}
		return nil
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	u.disk = w.disk
	if s.Trial {
		w.pending = true
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if err := u.Run(ctx); errors.Is(err, ErrRestart) {
		return true
	} else if err != nil {
		w.t.Fatal(err)
	}
	if s.Trial {
		w.committed, w.pending = w.running, false
	}
	w.started[w.running] = false
	return w.next(u)
}

// next does what the node is to do: the next upgrade, or the return after the last.
func (w *world) next(u *Upgrader) bool {
	ctx := context.Background()
	if o := u.State().Outcome; o != nil && len(w.goals) > 0 && w.goals[0] != "back" && o.ID == w.id() {
		if o.Phase == RolledBack {
			w.reasons = append(w.reasons, o.Reason)
		}
		if w.tries++; o.Phase == Committed || w.bad {
			w.goals, w.tries = w.goals[1:], 0
		}
	}
	if len(w.goals) == 0 {
		return false
	}
	if w.goals[0] == "back" {
		w.pending = true
		if err := u.Rollback(ctx, w.id(), "asked for"); err != nil && !errors.Is(err, ErrNothing) {
			w.t.Fatal(err)
		}
		w.goals = w.goals[1:]
		return true
	}
	slot, err := u.Download(ctx, Request{ID: w.id(), Source: "test", Version: w.goals[0]})
	if err == nil {
		err = u.Switch(ctx, slot, Health{Stable: time.Second, Timeout: time.Minute})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.started[w.goals[0]] = false // a new trial
	if err := u.Stopped(ctx); err != nil {
		w.t.Fatal(err)
	}
	return true
}

func (w *world) id() string { return fmt.Sprintf("%s-%d", w.goals[0], w.tries) }

// memoryDir is a folder in memory where the machine has one: the tests write much and sync nothing.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "edgekit-upgrade-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// play lives until there is nothing more to do, with cuts after so many operations each.
func play(t *testing.T, seed uint64, bad bool, goals []string, cuts ...int) *world {
	t.Helper()
	dir := memoryDir(t)
	w := &world{t: t, dir: dir, base: filepath.Join(dir, "base"), bad: bad, goals: goals, committed: "v1", started: make(map[string]bool)}
	w.disk = &powerDisk{dir: filepath.Join(dir, SlotsDir), rng: rand.New(rand.NewPCG(seed, 1))}
	err := errors.Join(os.WriteFile(w.base, []byte("v1"), 0o755), os.MkdirAll(filepath.Join(dir, "meta"), 0o700), os.WriteFile(filepath.Join(dir, "meta", "store"), []byte("pods"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for lives := 0; ; lives++ {
		w.disk.since = nil
		if len(cuts) > 0 && w.disk.left < 0 {
			w.disk.left, cuts = cuts[0], cuts[1:]
		} else if len(cuts) == 0 && w.disk.left == 0 {
			w.disk.left = -2
		}
		if !w.live(t.Context()) {
			return w
		}
		if lives > 60 {
			t.Fatalf("no end: goals %q, running %s, reasons %q", w.goals, w.running, w.reasons)
		}
	}
}

// TestPowerCuts cuts the power at every operation of two upgrades and a return, of good and of bad
// programs, twice: at the operation, and soon after the next start. There always is a program, it
// is never an uncommitted one after an unclean start, a commit stays, the store is untouched, and the
// node comes to the same end.
func TestPowerCuts(t *testing.T) {
	cuts := 0
	for _, bad := range []bool{false, true} {
		goals := []string{"v2", "v3", "v4", "back"}
		if bad {
			goals = []string{"v2", "v3"}
		}
		total := 0
		synctest.Test(t, func(t *testing.T) {
			w := play(t, 0, bad, goals)
			total = w.disk.count
		})
		for n := range total {
			seed := uint64(n)
			again := []int{n, n % 7}
			synctest.Test(t, func(t *testing.T) {
				w := play(t, seed, bad, goals, again...)
				want := "v3" // v4 was returned from
				if bad {
					want = "v1"
				}
				if w.running != want {
					t.Errorf("cut at %d of %d, seed %d: %s runs at the end", n, total, seed, w.running)
				}
				for _, reason := range w.reasons {
					if reason == "" {
						t.Errorf("cut at %d: a rollback without a reason", n)
					}
				}
			})
			cuts += len(again)
		}
		t.Logf("bad %v: %d operations", bad, total)
	}
	t.Logf("RESULT upgrade_model_cuts %d", cuts)
}
