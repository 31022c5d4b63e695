package badgerstore_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// memoryDir returns a folder in memory where there is one: these tests open
// stores hundreds of times, and what they look at is not the disk.
func memoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "edgekit-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// history is what a store held at each of its revisions.
type history struct {
	at     map[uint64]map[string]string
	newest uint64
}

// wounded makes a store with several tables and a log that was not closed, as a crash
// leaves it, and returns its folder and its history.
func wounded(t *testing.T, cfg badgerstore.Config) history {
	t.Helper()
	h := history{at: map[uint64]map[string]string{}}
	held := map[string]string{}
	rng := rand.New(rand.NewPCG(1, 2))
	note := func(s *badgerstore.Store, at uint64) {
		now := map[string]string{}
		for k, v := range held {
			now[k] = v
		}
		h.at[at], h.newest = now, at
	}
	live := cfg
	live.Dir = filepath.Join(memoryDir(t), "live")
	for round := range 4 {
		s := openAs(t, live)
		if err := meta.MarkSynced(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		for range 15 {
			var ops []meta.Op
			for range 3 {
				key := fmt.Sprintf("down/pods/default/p%02d", rng.IntN(40))
				value := strings.Repeat(fmt.Sprint(rng.Uint64()), 1+rng.IntN(200))
				if rng.IntN(40) == 0 {
					value = strings.Repeat("large", 40_000)
				}
				op := meta.Op{Key: key, Value: []byte(value)}
				held[key] = value
				if rng.IntN(5) == 0 {
					op.Delete = true
					delete(held, key)
				}
				ops = append(ops, op)
			}
			at, err := s.Apply(t.Context(), ops...)
			if err != nil {
				t.Fatal(err)
			}
			note(s, at)
		}
		if round == 3 {
			copyLive(t, filepath.Join(live.Dir, "data"), filepath.Join(cfg.Dir, "data"))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// copyLive copies the folder of an open store to which nobody writes. badger may be
// compacting: a copy during which the set of tables changed is not a state that a crash
// could leave, and is made again.
func copyLive(t *testing.T, from, to string) {
	t.Helper()
	tables := func() []byte {
		b, err := os.ReadFile(filepath.Join(from, "MANIFEST"))
		if err != nil {
			t.Fatal(err)
		}
		names, _ := filepath.Glob(filepath.Join(from, "*"))
		return append(b, strings.Join(names, "\n")...)
	}
	for {
		before := tables()
		if whole := copyStore(from, to) == nil; whole && bytes.Equal(before, tables()) {
			return
		}
		if err := os.RemoveAll(to); err != nil {
			t.Fatal(err)
		}
	}
}

// copyStore copies a folder's files without the zeros at their ends, which
// become holes.
func copyStore(from, to string) error {
	entries, err := os.ReadDir(from)
	if err == nil {
		err = os.MkdirAll(to, 0o700)
	}
	for _, e := range entries {
		var b []byte
		if b, err = os.ReadFile(filepath.Join(from, e.Name())); err != nil {
			break
		}
		name := filepath.Join(to, e.Name())
		if err = os.WriteFile(name, bytes.TrimRight(b, "\x00"), 0o600); err == nil {
			err = os.Truncate(name, int64(len(b)))
		}
		if err != nil {
			break
		}
	}
	return err
}

// hurt damages one file of the folder and says how.
func hurt(t *testing.T, rng *rand.Rand, data string) string {
	t.Helper()
	entries, err := os.ReadDir(data)
	if err != nil || len(entries) == 0 {
		return "nothing"
	}
	name := filepath.Join(data, entries[rng.IntN(len(entries))].Name())
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(b, "\x00"))
	var how string
	switch kind := rng.IntN(6); {
	case kind == 0 || used == 0:
		how, err = "removed", os.Remove(name)
	case kind == 1:
		n := rng.IntN(used)
		how, err = fmt.Sprintf("cut to %d of %d", n, len(b)), os.Truncate(name, int64(n))
	case kind == 2:
		at := rng.IntN(used)
		end := min(at+512, len(b))
		clear(b[at:end])
		how, err = fmt.Sprintf("zeros at %d", at), os.WriteFile(name, b, 0o600)
	case kind == 3:
		how, err = "garbage behind it", os.WriteFile(name, append(b[:used:used], []byte(strings.Repeat("garbage!", 20))...), 0o600)
	default:
		at := rng.IntN(used)
		b[at] ^= 1 << rng.IntN(8)
		how, err = fmt.Sprintf("bit flipped at %d of %d", at, used), os.WriteFile(name, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Base(name) + ": " + how
}

// TestRandomDamage damages stores at random. Open always succeeds, and the store is in
// one of three states. It has all its data. Or it reports that the newest writes are
// lost, has the data of an earlier revision, and is not synced. Or it reports that the
// damaged store was set aside, and is empty. It never has other data, and it accepts
// writes.
func TestRandomDamage(t *testing.T) {
	seeds := number("DAMAGE_SEEDS", 40)
	if testing.Short() || raceDetector {
		seeds = min(seeds, 10)
	}
	outcomes := map[string]int{}
	for _, kind := range []string{"plain", "sealed"} {
		cfg := badgerstore.Config{Dir: memoryDir(t), Reserve: -1}
		if kind == "sealed" {
			cfg.KeyFile = filepath.Join(memoryDir(t), "key")
		}
		h := wounded(t, cfg)
		for seed := range seeds / 2 {
			at := cfg
			at.Dir = memoryDir(t)
			if err := copyStore(filepath.Join(cfg.Dir, "data"), filepath.Join(at.Dir, "data")); err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(uint64(seed), 3))
			var what []string
			for range rng.IntN(3) {
				what = append(what, hurt(t, rng, filepath.Join(at.Dir, "data")))
			}
			outcome := judge(t, at, h)
			outcomes[outcome]++
			if t.Failed() {
				t.Fatalf("%s, seed %d: %q: %s", kind, seed, what, outcome)
			}
			if len(what) == 0 && outcome != "whole" {
				t.Fatalf("%s, seed %d: %s without damage", kind, seed, outcome)
			}
			os.RemoveAll(at.Dir)
		}
	}
	t.Logf("%v", outcomes)
}

// judge opens a store and returns which of these states it is in.
func judge(t *testing.T, cfg badgerstore.Config, h history) string {
	t.Helper()
	var reported []*meta.CorruptError
	cfg.Damaged = func(e *meta.CorruptError) { reported = append(reported, e) }
	cfg.Now = func() time.Time { return time.Now().Add(time.Minute) } // the store was made within the same second
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Errorf("Open: %v", err)
		return "refused"
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	list, now, err := s.List(t.Context(), meta.Down)
	if err != nil {
		t.Error(err)
	}
	have := map[string]string{}
	for _, r := range list {
		have[r.Key] = string(r.Value)
	}
	synced, err := meta.Synced(t.Context(), s)
	if err != nil {
		t.Error(err)
	}
	if next, err := s.Apply(t.Context(), meta.Op{Key: "local/after", Value: []byte("x")}); err != nil || next <= now || now < h.newest {
		t.Errorf("at %d, then at %d, %v; it was at %d", now, next, err, h.newest)
	}
	switch {
	case len(reported) == 0:
		if !equal(have, h.at[h.newest]) || !synced {
			t.Errorf("without a word the store holds %d records of %d, synced %t", len(have), len(h.at[h.newest]), synced)
		}
		return "whole"
	case reported[0].Aside == "":
		if synced {
			t.Error("a store that lost something is said to be synced")
		}
		for _, was := range h.at {
			if equal(have, was) {
				return "newest writes gone"
			}
		}
		t.Errorf("the store holds %d records as it never did", len(have))
		return "wrong"
	}
	if len(list) != 0 || synced {
		t.Errorf("an empty store holds %d records, synced %t", len(list), synced)
	}
	return "set aside"
}

func equal(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for k, v := range a {
		if b[k] != v {
			return false
		}
	}
	return true
}

// TestReadFault truncates a table under an open store: a read returns an error, and the
// process goes on.
func TestReadFault(t *testing.T) {
	dir := t.TempDir()
	filled(t, badgerstore.Config{Dir: dir})
	s := open(t, dir)
	names, _ := filepath.Glob(filepath.Join(dir, "data", "*.sst"))
	b, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(names[0], 0); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.List(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "the disk failed to give") {
		t.Errorf("List: %v", err)
	}
	if _, err := s.Apply(t.Context(), meta.Op{Key: "local/k", Value: []byte("1")}); err == nil {
		t.Error("Apply read what is not there")
	}
	if err := os.WriteFile(names[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if list, _, err := s.List(t.Context(), ""); err != nil || len(list) != 50 {
		t.Errorf("List when the disk is well again: %d records, %v", len(list), err)
	}
}
