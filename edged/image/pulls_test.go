package image

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestPulls(t *testing.T) {
	dir := t.TempDir()
	p := NewPulls(dir)
	ref, err := Parse("quay.io/acme/sensor")
	if err != nil {
		t.Fatal(err)
	}
	key := Credential{Server: "quay.io", Username: "u", Password: "hunter2"}
	alias := Credential{Server: "https://quay.io/v2/", Username: "u", Password: "hunter2"}
	other := Credential{Server: "quay.io", Username: "u", Password: "guess"}
	if p.Could(ref, "id1", []Credential{key}) {
		t.Error("what was never pulled is known")
	}
	if err := p.Note(ref, "id1", &key); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time after a restart
		if !p.Could(ref, "id1", []Credential{other, alias}) || p.Could(ref, "id1", []Credential{other}) || p.Could(ref, "id1", nil) {
			t.Error("not just who has the key could pull")
		}
		if p.Could(ref, "id2", []Credential{key}) {
			t.Error("another image of that name is taken for the one that was pulled")
		}
		p = NewPulls(dir)
	}
	text, err := os.ReadFile(p.file(ref))
	if err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("%s %v", text, err)
	}
	if err := p.Note(ref, "id1", nil); err != nil || !p.Could(ref, "id1", nil) || !p.Could(ref, "id1", []Credential{key}) {
		t.Error("an image that anyone can pull is refused", err)
	}
	if err := p.Note(ref, "id2", &key); err != nil || p.Could(ref, "id2", nil) || !p.Could(ref, "id1", nil) {
		t.Error("a new image has the keys of the old one, or the old one is no longer for everybody", err)
	}
	// An image that a registry gave without a key under one name needs no key under
	// another.
	alias2, err := Parse("edge.local/sensor:1")
	if err != nil {
		t.Fatal(err)
	}
	if p.Could(alias2, "id2", []Credential{other}) || p.Note(ref, "id3", nil) != nil || !p.Could(alias2, "id3", nil) || p.Note(ref, "id2", &key) != nil {
		t.Error("a public image is kept from pods that name it otherwise")
	}
	// A damaged record counts as missing, and the next pull replaces it.
	if err := os.WriteFile(p.file(ref), []byte(`{"ref":"x`), 0o600); err != nil {
		t.Fatal(err)
	}
	if p.Could(ref, "id2", []Credential{key}) {
		t.Error("a damaged record is believed")
	}
	if err := p.Note(ref, "id2", &key); err != nil || !p.Could(ref, "id2", []Credential{key}) {
		t.Error("a damaged record stays", err)
	}
	for range maxKeys + 9 {
		k := Credential{Username: "u", Password: strings.Repeat("x", len(readRecord(t, p, ref).Keys))}
		if err := p.Note(ref, "id2", &k); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(readRecord(t, p, ref).Keys); n > maxKeys {
		t.Errorf("%d keys are kept", n)
	}
}

// TestPulled distinguishes images that were pulled from those that were preloaded.
func TestPulled(t *testing.T) {
	dir := t.TempDir()
	ref, err := Parse("quay.io/acme/sensor:1")
	if err != nil {
		t.Fatal(err)
	}
	alias, err := Parse("quay.io/acme/sensor:latest")
	if err != nil {
		t.Fatal(err)
	}
	key := Credential{Username: "u", Password: "p"}
	p := NewPulls(dir)
	want := func(r Ref, id string, want bool) {
		t.Helper()
		for range 2 { // the second time after a restart
			if got := p.Pulled(r, id); got != want {
				t.Errorf("%s as %s was pulled: %t", r, id, got)
			}
			p = NewPulls(dir)
		}
	}
	want(ref, "id1", false)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(p.Begin(ref))
	want(ref, "id1", true) // the power was cut: the runtime may have pulled it
	check(p.Begin(ref))
	check(p.Fail(ref))
	want(ref, "id1", false)
	check(p.Begin(ref))
	check(p.Begin(ref))
	check(p.Fail(ref)) // the other one goes on
	if !p.Pulled(ref, "id1") {
		t.Error("a pull that goes on was forgotten for one that failed")
	}
	check(p.Note(ref, "id1", &key))
	want(ref, "id1", true)
	want(alias, "id1", true) // another name of the same image
	want(alias, "id2", false)
	if p.Could(alias, "id1", nil) {
		t.Error("another name of the image makes it free for all")
	}
	check(p.Begin(ref))
	check(p.Note(ref, "id2", &key)) // the tag has moved on
	want(ref, "id1", true)          // and the old image is still there
	if p.Could(ref, "id1", []Credential{key}) || !p.Could(ref, "id2", []Credential{key}) {
		t.Error("the record is of another image")
	}
	check(os.WriteFile(p.file(alias), []byte("{"), 0o600))
	want(alias, "id3", true) // who knows
}

func readRecord(t *testing.T, p *Pulls, ref Ref) record {
	t.Helper()
	r, err := p.read(ref)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"ref":"docker.io/library/a:latest","image":"sha256:1","salt":"s","anonymous":true,"keys":["a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseRecord(text)
		if err != nil {
			return
		}
		if back, err := json.Marshal(r); err != nil || len(back) > 8*len(text)+256 {
			t.Errorf("%d bytes of %d, %v", len(back), len(text), err)
		}
	})
}
