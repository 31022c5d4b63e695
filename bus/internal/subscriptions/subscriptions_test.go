package subscriptions

import (
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
)

func TestList(t *testing.T) {
	var l List
	var got []string
	add := func(name, filter string) int {
		return l.Add(filter, func(bus.Message) { got = append(got, name) })
	}
	deliver := func(topic, want string) {
		t.Helper()
		got = nil
		for _, f := range l.Match(topic) {
			f(bus.Message{})
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s goes to %q, want %q", topic, text, want)
		}
	}
	deliver("a/b", "")
	one, two := add("one", "a/#"), add("two", "a/#")
	add("three", "a/+")
	add("x", "$share/g/a/b")
	add("y", "$share/g/a/b")
	deliver("a/c", "one two three")
	deliver("a/b", "one two three y") // a shared subscription takes turns
	deliver("a/b", "one two three x")
	if f := l.Filters(); !slices.Equal(f, []string{"$share/g/a/b", "a/#", "a/+"}) {
		t.Errorf("filters are %q", f)
	}
	for _, tt := range []struct {
		id   int
		last bool
	}{{one, false}, {one, false}, {two, true}, {two, false}} { // each may be removed again
		if last := l.Remove(tt.id); last != tt.last {
			t.Errorf("removing %d: %v, want %v", tt.id, last, tt.last)
		}
	}
	deliver("a/c", "three")
}
