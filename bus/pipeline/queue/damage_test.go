package queue

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestDamage tears and flips each record of a queue in turn: the rest is sent, new events too,
// and what was damaged is set aside.
func TestDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	kinds := []string{"none", "zstd", "gzip"}
	if _, err := compress.Encode(compress.Zstd, nil); err != nil { // its coders are made outside of the bubbles
		t.Fatal(err)
	}
	for round := range 300 {
		synctest.Test(t, func(t *testing.T) { damageOne(t, rng, round, kinds[round%3]) })
	}
}

func damageOne(t *testing.T, rng *rand.Rand, round int, kind string) {
	store := memstore.New()
	one := openQueue(t, newQueues(t, store, nil), sinkSpec(batchOf(2), packedAs(kind)))
	for n := range 8 {
		appendAll(t, one, events(10*n, 10*n+10)...)
	}
	want(t, take(t, one), "0", "1")
	one.Close()
	keys, _, _ := store.Keys(t.Context(), one.prefix)
	key := keys[rng.IntN(len(keys))].Key
	record, _ := store.Get(t.Context(), key)
	bad := bytes.Clone(record.Value)
	if rng.IntN(2) == 0 {
		bad = bad[:rng.IntN(len(bad))]
	} else {
		bad[rng.IntN(len(bad))] ^= 1 << rng.IntN(8)
	}
	_, _ = store.Apply(t.Context(), meta.Op{Key: key, Value: bad})

	one = openQueue(t, newQueues(t, store, nil), sinkSpec())
	appendAll(t, one, events(80, 90)...)
	got := make(map[string]bool)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b, err := one.Take(ctx)
		cancel()
		if err != nil {
			break
		}
		for _, e := range b.Events {
			got[e.ID] = true
		}
		if err := one.Remove(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	lost := 0
	for n := 2; n < 90; n++ {
		if !got[strconv.Itoa(n)] {
			lost++
		}
	}
	data := strings.HasPrefix(key, one.prefix+"d/")
	aside, _, _ := store.Keys(t.Context(), one.prefix+"x/")
	if !data && lost > 0 || data && (lost < 8 || lost > 10 || len(aside) != 1) {
		t.Errorf("round %d, damage of %s: %d events are lost, %d records were set aside", round, strings.TrimPrefix(key, one.prefix), lost, len(aside))
	}
	if s := one.Stats(); s.Events != 0 || s.Bytes != 0 {
		t.Errorf("round %d, damage of %s: %+v of an empty queue", round, strings.TrimPrefix(key, one.prefix), s)
	}
	one.Close()
}

// TestDamagedFiles flips and cuts the store's files under a queue: the store opens, with what it
// can, and the queue goes on.
func TestDamagedFiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 12 {
		dir := t.TempDir()
		store := openStore(t, dir)
		one := openQueue(t, newQueues(t, store, nil), sinkSpec())
		for n := range 50 {
			appendAll(t, one, events(10*n, 10*n+10)...)
		}
		one.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(dir, "store", "*"))
		for range 3 {
			name := files[rng.IntN(len(files))]
			b, err := os.ReadFile(name)
			if err != nil || len(b) == 0 {
				continue
			}
			if rng.IntN(2) == 0 {
				b = b[:rng.IntN(len(b))]
			} else {
				b[rng.IntN(len(b))] ^= 0xff
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		store = openStore(t, dir)
		one = openQueue(t, newQueues(t, store, nil), sinkSpec())
		appendAll(t, one, event(9999))
		found := false
		for range 600 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			b, err := one.Take(ctx)
			cancel()
			if err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			for _, e := range b.Events {
				found = found || e.ID == "9999"
			}
			if err := one.Remove(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if found {
				break
			}
		}
		if !found {
			t.Errorf("round %d: the new event does not come", round)
		}
		one.Close()
		store.Close()
	}
}

func openStore(t testing.TB, dir string) *badgerstore.Store {
	t.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "store"), Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// child appends and sends for ever, and says what it did after it is durable.
func child(dir string) {
	if err := runChild(context.Background(), dir); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func runChild(ctx context.Context, dir string) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "store"), Reserve: -1})
	if err != nil {
		return err
	}
	queues, err := New(Config{Store: store})
	if err != nil {
		return err
	}
	got, err := queues.Open(ctx, ref, sinkSpec(batchOf(7)))
	if err != nil {
		return err
	}
	one := got.(*queue)
	next := 0
	if r, err := store.Get(ctx, "next"); err == nil {
		next, _ = strconv.Atoi(string(r.Value))
	}
	failed := make(chan error, 2)
	go func() {
		for n := next; ; n += 10 {
			staged, err := one.Stage(ctx, events(n, n+10))
			if err == nil { // with a further change, as the engine has the state of its steps
				_, err = store.Apply(ctx, append(staged.Ops, meta.Op{Key: "next", Value: []byte(strconv.Itoa(n + 10))})...)
			}
			if err != nil {
				failed <- err
				return
			}
			staged.Done(true)
			fmt.Println("stored", n+10)
		}
	}()
	go func() {
		for {
			b, err := one.Take(ctx)
			if err == nil {
				fmt.Println("sent", strings.ReplaceAll(strings.Join(idsOf(b), " "), "+", ""))
				err = one.Remove(ctx, b)
			}
			if err != nil {
				failed <- err
				return
			}
		}
	}()
	return <-failed
}

// TestKill kills a program that appends and sends, again and again: no event that was stored is
// lost, and few are sent twice.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(7, 8))
	sent := make(map[int]int)
	stored, kills := 0, 12
	for range kills {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "QUEUE_CHILD="+dir)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for left := 20 + rng.IntN(200); lines.Scan(); left-- {
			if left == 0 {
				_ = cmd.Process.Kill() // SIGKILL; what it has printed is read to the end
			}
			kind, rest, _ := strings.Cut(lines.Text(), " ")
			switch kind {
			case "stored":
				n, _ := strconv.Atoi(rest)
				stored = max(stored, n)
			case "sent":
				for _, id := range strings.Fields(rest) {
					n, _ := strconv.Atoi(id)
					sent[n]++
				}
			default:
				t.Fatal(lines.Text())
			}
		}
		_ = cmd.Wait()
	}
	store := openStore(t, dir)
	one := openQueue(t, newQueues(t, store, nil), sinkSpec())
	for range 10_000 {
		ctx, cancel := context.WithCancel(t.Context())
		if one.Stats().Events == 0 {
			cancel()
		}
		b, err := one.Take(ctx)
		cancel()
		if err != nil {
			break
		}
		for _, e := range b.Events {
			n, _ := strconv.Atoi(e.ID)
			sent[n]++
		}
		if err := one.Remove(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	lost, twice := 0, 0
	for n := range stored {
		switch {
		case sent[n] == 0:
			lost++
		case sent[n] > 1:
			twice++
		}
	}
	t.Logf("%d kills, %d events stored, %d sent twice", kills, stored, twice)
	if lost > 0 {
		t.Errorf("%d of %d events are lost", lost, stored)
	}
	if twice > stored/2 {
		t.Errorf("%d of %d events are sent twice", twice, stored)
	}
}

func FuzzRecords(f *testing.F) {
	for _, kind := range []string{"", "zstd"} {
		s, _ := settingsOf(sinkSpec(packedAs(kind)))
		list, _ := packer{s.pack}.pack(events(0, 3), time.UnixMilli(5))
		f.Add(list[0].encode()[5:])
	}
	letter, _ := encodeLetter(pipeline.DeadLetter{Step: "s", Reason: "R", Message: "m", Time: time.UnixMilli(5), Event: event(1)})
	f.Add(letter[5:])
	st := state{tail: tail{next: 90}, taken: map[uint64]int{4: 2}, pending: spans{{4, 8}, {10, 90}}, kept: spans{{1, 2}}}
	f.Add(st.encode()[5:])
	f.Fuzz(func(t *testing.T, content []byte) {
		b := seal(content) // a checksum is no secret
		if r, err := decodeRecord(b); err == nil {
			if list, err := r.events(); err == nil && len(list) != r.count {
				t.Errorf("%d of %d events", len(list), r.count)
			}
		}
		if s, err := decodeState(b); err == nil {
			if again, err := decodeState(s.encode()); err != nil || fmt.Sprint(again) != fmt.Sprint(s) {
				t.Errorf("%v became %v, %v", s, again, err)
			}
		}
		_, _ = decodeTail(b)
		_, _ = decodeLetter(b)
	})
}
