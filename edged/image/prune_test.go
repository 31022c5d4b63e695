package image

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

func mustParse(t *testing.T, text string) Ref {
	t.Helper()
	ref, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func files(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestPrune removes the records of an image that has been gone for an hour, but none
// whose loss would let a pod use an image that it could not pull.
func TestPrune(t *testing.T) {
	key := Credential{Username: "u", Password: "p"}
	const here, gone = "sha256:aa", "sha256:bb"
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p := NewPulls(dir)
		app, old, cut := mustParse(t, "quay.io/acme/app:1"), mustParse(t, "quay.io/acme/old:1"), mustParse(t, "quay.io/acme/cut:1")
		check := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		prune := func(after time.Duration, present ...Present) int {
			t.Helper()
			time.Sleep(after)
			n, err := p.Prune(present)
			check(err)
			return n
		}
		both := []Present{{here, []string{app.String()}}, {gone, nil}}
		check(p.Note(app, here, &key))
		check(p.Note(old, gone, &key))
		check(p.Begin(cut))
		check(os.WriteFile(filepath.Join(dir, "x.json.new"), nil, 0o600)) // of a write that was cut off
		check(os.WriteFile(filepath.Join(dir, "README"), nil, 0o600))
		if n := prune(0, both...); n != 1 || files(t, dir) != 6 {
			t.Errorf("%d files removed, %d left", n, files(t, dir))
		}
		if n := prune(2 * time.Hour); n != 0 {
			t.Errorf("%d files removed for a runtime that lists nothing", n)
		}
		if n := prune(0, both[0]) + prune(59*time.Minute, both[0]) + prune(2*time.Hour, both...) + prune(2*time.Hour, both[0]); n != 0 {
			t.Errorf("%d files removed of an image that was away for less than an hour", n)
		}
		// The image comes back by a pull, and the list that prune gets is an older one.
		check(p.Note(old, gone, &key))
		if n := prune(2*time.Hour, both[0]); n != 0 || !p.Pulled(old, gone) {
			t.Errorf("%d files removed of an image that was just pulled", n)
		}
		if n := prune(2*time.Hour, both[0]); n != 2 || p.Could(old, gone, []Credential{key}) || p.Pulled(old, gone) {
			t.Errorf("%d files removed of an image that is gone", n)
		}
		if !p.Could(app, here, []Credential{key}) || !p.Pulled(app, here) {
			t.Error("the image that is there is not known any more")
		}
		// The record of a pull under way stays; that of a pull that a power cut ended,
		// for a day.
		if n := prune(48*time.Hour, both[0]); n != 0 || !p.Pulled(cut, "sha256:cc") {
			t.Errorf("%d files removed of a pull that goes on", n)
		}
		p = NewPulls(dir)
		if n := prune(0, both[0]) + prune(23*time.Hour, both[0]); n != 0 {
			t.Errorf("%d files removed of a pull of which nobody knows", n)
		}
		if n := prune(2*time.Hour, both[0]); n != 1 || files(t, dir) != 3 {
			t.Errorf("%d files removed, %d left", n, files(t, dir))
		}
	})
}

// TestPruneBound: one image is pulled under very many names. The oldest names are
// forgotten, and the image still counts as pulled.
func TestPruneBound(t *testing.T) {
	dir := t.TempDir()
	p := NewPulls(dir)
	key := Credential{Username: "u", Password: "p"}
	first := mustParse(t, "quay.io/acme/app:0")
	present := []Present{{ID: "sha256:aa"}}
	for i := range maxReferences + 20 {
		ref := mustParse(t, fmt.Sprintf("quay.io/acme/app:%d", i))
		present[0].Names = append(present[0].Names, ref.String())
		text, err := json.Marshal(record{Ref: ref.String(), Image: "sha256:aa", Salt: "s", Pulling: i == 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.file(ref), text, 0o600); err != nil { // without the syncs of write
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i-2*maxReferences) * time.Second)
		if err := os.Chtimes(p.file(ref), at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Note(mustParse(t, "quay.io/acme/app:x"), "sha256:aa", &key); err != nil {
		t.Fatal(err)
	}
	if n, err := p.Prune(present); n != 21 || err != nil {
		t.Errorf("%d files removed, %v", n, err)
	}
	if n := files(t, dir); n != maxReferences+1 {
		t.Errorf("%d files left", n)
	}
	if !p.Pulled(first, "sha256:aa") || p.Could(first, "sha256:aa", []Credential{key}) {
		t.Error("whoever names it by a name that was forgotten gets it")
	}
	if r := readRecord(t, p, mustParse(t, "quay.io/acme/app:1")); !r.Pulling {
		t.Error("a pull whose end is not known was forgotten")
	}
}
