package main

import (
	"slices"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestRememberRun has a node run again and again, with a record that cannot be read
// between.
func TestRememberRun(t *testing.T) {
	store := memstore.New()
	for _, tt := range []struct {
		instance string
		earlier  []string
	}{
		{"a", nil}, {"b", []string{"a"}}, {"c", []string{"b", "a"}}, {"c", []string{"b", "a"}}, {"d", []string{"c", "b", "a"}},
		{"e", []string{"d", "c", "b", "a"}}, {"f", []string{"e", "d", "c", "b"}},
	} {
		got, err := rememberRun(t.Context(), store, tt.instance)
		if err != nil || !slices.Equal(got, tt.earlier) {
			t.Errorf("the runs before %s are %q (%v), want %q", tt.instance, got, err, tt.earlier)
		}
	}
	if _, err := store.Apply(t.Context(), meta.Op{Key: runsKey, Value: []byte("{")}); err != nil {
		t.Fatal(err)
	}
	if got, err := rememberRun(t.Context(), store, "g"); err != nil || len(got) > 0 {
		t.Errorf("from a broken record: %q, %v", got, err)
	}
	if got, err := rememberRun(t.Context(), store, "h"); err != nil || !slices.Equal(got, []string{"g"}) {
		t.Errorf("after a broken record: %q, %v", got, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := rememberRun(t.Context(), store, "i"); err == nil {
		t.Error("a store that is closed remembers a run")
	}
}
