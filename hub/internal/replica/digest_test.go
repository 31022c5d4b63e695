package replica

import (
	"testing"

	"github.com/edgekit/edgekit/hub/internal/message"
)

func TestDigest(t *testing.T) {
	entries := []message.Entry{{Key: message.Key{Resource: "a", Namespace: "b", Name: "c"}, Version: "1"}, {Key: message.Key{Resource: "a", Namespace: "", Name: "bc"}, Version: "1"}, {Key: message.Key{Resource: "ab", Namespace: "", Name: "c"}, Version: "1"}, {Key: message.Key{Resource: "ab", Namespace: "c", Name: ""}, Version: "2"}}
	var there, back Digester
	for i := range entries {
		there.Add(entries[i].Key, entries[i].Version)
		e := entries[len(entries)-1-i]
		back.Add(e.Key, e.Version)
	}
	if there.Sum() != back.Sum() {
		t.Error("the order makes a difference")
	}
	seen := map[message.Digest]message.Entry{}
	for _, e := range entries {
		var d Digester
		d.Add(e.Key, e.Version)
		if other, taken := seen[d.Sum()]; taken {
			t.Errorf("%v and %v have one digest", e, other)
		}
		seen[d.Sum()] = e
	}
	var twice Digester
	twice.Add(entries[0].Key, "1")
	twice.Add(entries[0].Key, "1")
	if twice.Sum() == (message.Digest{Count: 2}) {
		t.Error("an entry listed twice vanishes")
	}
}

func BenchmarkDigest(b *testing.B) {
	b.ReportAllocs()
	var d Digester
	for b.Loop() {
		d.Add(message.Key{Resource: "pods", Namespace: "default", Name: "web-1"}, "123456")
	}
}
