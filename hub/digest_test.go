package hub

import "testing"

func TestDigest(t *testing.T) {
	entries := []entry{{Key{"a", "b", "c"}, "1"}, {Key{"a", "", "bc"}, "1"}, {Key{"ab", "", "c"}, "1"}, {Key{"ab", "c", ""}, "2"}}
	var there, back digester
	for i := range entries {
		there.add(entries[i].Key, entries[i].Version)
		e := entries[len(entries)-1-i]
		back.add(e.Key, e.Version)
	}
	if there.digest() != back.digest() {
		t.Error("the order makes a difference")
	}
	seen := map[digestSum]entry{}
	for _, e := range entries {
		var d digester
		d.add(e.Key, e.Version)
		if other, taken := seen[d.digest()]; taken {
			t.Errorf("%v and %v have one digest", e, other)
		}
		seen[d.digest()] = e
	}
	var twice digester
	twice.add(entries[0].Key, "1")
	twice.add(entries[0].Key, "1")
	if twice.digest() == (digestSum{Count: 2}) {
		t.Error("an entry listed twice vanishes")
	}
}

func BenchmarkDigest(b *testing.B) {
	b.ReportAllocs()
	var d digester
	for b.Loop() {
		d.add(Key{"pods", "default", "web-1"}, "123456")
	}
}
