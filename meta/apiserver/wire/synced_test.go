package wire

import (
	"reflect"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestEdgeSync(t *testing.T) {
	s := EdgeSync{Group: "factory.example.com", Version: "v1", Resource: "recipes", Kind: "Recipe", ShortNames: []string{"rc"}, Namespaced: true, Namespaces: []string{"a"}, Some: true}
	text, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeEdgeSync(text); err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v", got, err)
	}
	if got := SyncedResource("", "v1", "persistentvolumeclaims"); got != "synced.persistentvolumeclaims.v1." {
		t.Error(got)
	}
	for name, bad := range map[string]string{
		"no JSON": `x`, "no kind": `{"version":"v1","resource":"r"}`, "no version": `{"kind":"K","resource":"r"}`,
		"a path": `{"version":"v1","resource":"r/status","kind":"K"}`, "a dot": `{"version":"v1.x","resource":"r","kind":"K"}`,
		"a path in the group": `{"group":"a/b","version":"v1","resource":"r","kind":"K"}`,
		"many names":          `{"version":"v1","resource":"r","kind":"K","namespaces":[` + strings.Repeat(`"a",`, 100) + `"a"]}`,
	} {
		if got, err := DecodeEdgeSync([]byte(bad)); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func FuzzDecodeEdgeSync(f *testing.F) {
	f.Add([]byte(`{"group":"g","version":"v1","resource":"r","kind":"K","namespaces":["a"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := DecodeEdgeSync(text)
		if err == nil && (s.Kind == "" || strings.Contains(s.Resource, "/")) {
			t.Errorf("%+v", s)
		}
	})
}

func TestAttackEdgeSync(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "edge_sync", Before: "{", Between: ",", After: "}", Tokens: decodetest.JSONTokens(),
		Units:  []string{`"namespaces":[]`, `"namespaces":["",""]`, `"kind":"ab"`, `"shortNames":[""]`, `"a":{}`},
		Decode: func(b []byte) { _, _ = DecodeEdgeSync(b) },
	})
}
