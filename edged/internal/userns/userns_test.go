package userns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// files writes the three files of a machine; "" leaves one out.
func files(t *testing.T, users, uids, gids string) Files {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if text != "" {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	return Files{write("passwd", users), write("subuid", uids), write("subgid", gids)}
}

// TestRanges reads the ids of the user kubelet by the rules of the kubelet.
func TestRanges(t *testing.T) {
	const user = "root:x:0:0::/:/bin/sh\nkubelet:x:990:990::/:/bin/false\n"
	for name, tt := range map[string]struct {
		users, uids, gids string
		maxPods           int
		first             uint32
		err               string
	}{
		"no files":        {maxPods: 110, first: Unit},
		"no such user":    {"root:x:0:0::/:/bin/sh\n", "kubelet:1:1\n", "", 110, Unit, ""},
		"no line":         {user, "root:100000:65536\n", "root:100000:65536\n", 110, Unit, ""},
		"a line":          {user, "root:100000:65536\nkubelet:655360:7208960\n", "kubelet:655360:7208960\n", 110, 655360, ""},
		"by uid":          {user, "990:655360:7208960\n", "990:655360:7208960\n", 110, 655360, ""},
		"all ids":         {user, "kubelet:65536:4294901760\n", "kubelet:65536:4294901760\n", 110, 65536, ""},
		"two lines":       {user, "kubelet:655360:65536\nkubelet:65536:65536\n", "", 1, 0, "has several lines of the user kubelet: leave one"},
		"different":       {user, "kubelet:655360:65536\n", "kubelet:65536:65536\n", 1, 0, "different ids"},
		"only uids":       {user, "kubelet:655360:65536\n", "", 1, 0, "write the same line into both"},
		"no number":       {user, "kubelet:a:65536\n", "", 1, 0, "is not USER:FIRST:COUNT"},
		"past the end":    {user, "kubelet:4294901760:131072\n", "", 1, 0, "is not USER:FIRST:COUNT"},
		"the host's own":  {user, "kubelet:0:7208960\n", "kubelet:0:7208960\n", 1, 0, "begin below 65536"},
		"no multiple":     {user, "kubelet:100000:65536\n", "kubelet:100000:65536\n", 1, 0, "are no multiple of 65536"},
		"too few":         {user, "kubelet:65536:65536\n", "kubelet:65536:65536\n", 2, 0, "not enough for 2 pods"},
		"more than exist": {maxPods: 65536, err: "not enough for 65536 pods"},
	} {
		t.Run(name, func(t *testing.T) {
			a := New(Config{MaxPods: tt.maxPods, Files: files(t, tt.users, tt.uids, tt.gids)})
			err := a.Open(t.Context())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("%v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if u, err := a.Allocate(t.Context(), "a"); err != nil || u != (runtime.UserNamespace{First: tt.first, Length: Unit}) {
				t.Errorf("%+v, %v", u, err)
			}
		})
	}
}

// broken is a Store that fails while err is set.
type broken struct {
	meta.Store
	err error
}

func (b *broken) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if b.err != nil {
		return 0, b.err
	}
	return b.Store.Apply(ctx, ops...)
}

// TestAllocator gives no two pods ids in common, over restarts and changes of the size.
func TestAllocator(t *testing.T) {
	ctx := t.Context()
	store := &broken{Store: memstore.New()}
	open := func(per uint32) *Allocator {
		t.Helper()
		a := New(Config{PerPod: per, MaxPods: 3, Store: store, Files: files(t, "kubelet:x:1:1::/:/\n", "kubelet:131072:393216\n", "kubelet:131072:393216\n")})
		if err := a.Open(ctx); err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open(Unit)
	given := make(map[runtime.UserNamespace]string)
	for i := range 6 {
		uid := fmt.Sprint(i)
		u, err := a.Allocate(ctx, uid)
		if err != nil || given[u] != "" {
			t.Fatalf("%s: %+v, %v", uid, u, err)
		}
		given[u] = uid
		if again, err := a.Allocate(ctx, uid); err != nil || again != u {
			t.Errorf("%s again: %+v, %v", uid, again, err)
		}
	}
	if _, err := a.Allocate(ctx, "seventh"); !errors.Is(err, ErrNone) {
		t.Errorf("one too many: %v", err)
	}
	for _, uid := range []string{"0", "1", "2", "4"} {
		if err := a.Release(ctx, uid); err != nil {
			t.Error(err)
		}
	}
	a = open(2 * Unit) // 3 and 5 keep theirs
	u, err := a.Allocate(ctx, "large")
	if want := (runtime.UserNamespace{First: 131072, Length: 2 * Unit}); err != nil || u != want {
		t.Errorf("%+v, %v; want %+v", u, err, want)
	}
	if _, err := a.Allocate(ctx, "larger"); !errors.Is(err, ErrNone) {
		t.Errorf("into what is left in pieces: %v", err)
	}
	store.err = errors.New("disk full")
	b := open(Unit)
	if _, err := b.Allocate(ctx, "x"); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Errorf("not stored: %v", err)
	}
	if _, ok := b.Of("x"); ok {
		t.Error("ids that are not stored are given")
	}
	store.err = nil
	b.Found("running", runtime.UserNamespace{First: 262144, Length: Unit})
	if u, err := b.Allocate(ctx, "x"); err != nil || u.First == 262144 {
		t.Errorf("%+v, %v: beside what a sandbox has", u, err)
	}
	if err := b.Keep(ctx, func(uid string) bool { return uid == "x" }); err != nil {
		t.Error(err)
	}
	if records, _, err := store.List(ctx, prefix); err != nil || len(records) != 1 {
		t.Errorf("%+v, %v", records, err)
	}
}

// FuzzParse never accepts ids that the host has itself, or that do not exist.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"65536+65536", "", "+", "0+1", "4294967295+1", "4294967295+2", "1+0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, ok := Parse(text)
		if ok && (u.First == 0 || u.Length == 0 || spanOf(u).end > 1<<32) {
			t.Errorf("%q: %+v", text, u)
		}
		if back, again := Parse(Format(u)); ok && (!again || back != u) {
			t.Errorf("%q: %+v, then %+v", text, u, back)
		}
	})
}
