package linkstate

import "testing"

func TestString(t *testing.T) {
	for want, link := range map[string]Link{
		"node e is connected to c:1 over quic": {Node: "e", Cloud: "c:1", Connected: true, Transport: "quic"},
		"node e is connected to c:1":           {Node: "e", Cloud: "c:1", Connected: true},
		"node e has no link to c:1: refused":   {Node: "e", Cloud: "c:1", Reason: "refused"},
		"node e has no link to c:1":            {Node: "e", Cloud: "c:1"},
	} {
		if got := link.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
