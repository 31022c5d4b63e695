package callbacks

import "testing"

// TestList adds and removes functions, also in a call.
func TestList(t *testing.T) {
	var l List
	got := ""
	call := func(want string) {
		t.Helper()
		got = ""
		if l.Call(); got != want {
			t.Errorf("called %q, want %q", got, want)
		}
	}
	call("")
	add := func(name string) func() { return l.Add(func() { got += name }) }
	a := add("a")
	add("b")
	call("ab")
	a()
	a()
	call("b")
	var c func()
	c = l.Add(func() { got += "c"; c() })
	add("d")
	call("bcd")
	call("bd")
}
