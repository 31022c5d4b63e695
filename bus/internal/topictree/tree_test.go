package topictree

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
)

// word makes a random filter or topic of few levels out of few words.
func word(r *rand.Rand, words ...string) string {
	levels := make([]string, 1+r.IntN(4))
	for i := range levels {
		levels[i] = words[r.IntN(len(words))]
	}
	return strings.Join(levels, "/")
}

// filter is a word whose "#" stands only at the end.
func filter(r *rand.Rand) string {
	f := word(r, "a", "b", "", "$a", "+", "#")
	if i := strings.IndexByte(f, '#'); i >= 0 {
		f = f[:i+1]
	}
	return f
}

// TestTree compares random trees with a list and bus.Match.
func TestTree(t *testing.T) {
	type sub struct {
		filter string
		key    int
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var tree Tree[int, int]
		var names Names[string]
		subs, kept := map[sub]int{}, map[string]bool{}
		for i := range 300 {
			s := sub{filter(r), r.IntN(40)}
			topic := word(r, "a", "b", "", "$a")
			if r.IntN(3) > 0 {
				_, had := subs[s]
				if tree.Add(s.filter, s.key, i) == had {
					t.Fatalf("Add(%q): had %v", s.filter, had)
				}
				subs[s] = i
				names.Set(topic, topic)
				kept[topic] = true
			} else {
				_, had := subs[s]
				if tree.Remove(s.filter, s.key) != had {
					t.Fatalf("Remove(%q): had %v", s.filter, had)
				}
				delete(subs, s)
				if names.Delete(topic) != kept[topic] {
					t.Fatalf("Delete(%q): had %v", topic, kept[topic])
				}
				delete(kept, topic)
			}
		}
		if tree.Len() != len(subs) || names.Len() != len(kept) {
			t.Fatalf("%d of %d values, %d of %d topics", tree.Len(), len(subs), names.Len(), len(kept))
		}
		topic, f := word(r, "a", "b", "", "$a"), filter(r)
		var got, want []string
		tree.Match(topic, func(key, value int) { got = append(got, fmt.Sprint(key, " ", value)) })
		for s, v := range subs {
			if bus.Match(s.filter, topic) {
				want = append(want, fmt.Sprint(s.key, " ", v))
			}
		}
		compare(t, round, topic, got, want)
		got, want = nil, nil
		names.Match(f, func(v string) { got = append(got, v) })
		for k := range kept {
			if bus.Match(f, k) {
				want = append(want, k)
			}
			if v, ok := names.Get(k); !ok || v != k {
				t.Fatalf("Get(%q) is %q, %v", k, v, ok)
			}
		}
		compare(t, round, f, got, want)
		for s := range maps.Clone(subs) {
			tree.Remove(s.filter, s.key)
		}
		if len(tree.root.children) != 0 || tree.Len() != 0 {
			t.Fatal("an empty tree keeps nodes")
		}
	}
}

func compare(t *testing.T, round int, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("round %d: %q matches %v, want %v", round, what, got, want)
	}
}
