package nodeapi

import (
	"encoding/base64"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// TestAttackDecoders searches for the tokens and patches of a node that cost most memory
// to check.
func TestAttackDecoders(t *testing.T) {
	units := []string{`"a":{}`, `"kubernetes.io":{}`, `"kubernetes.io":0`, `"kubernetes.io":{"pod":0,"pod":[]}`, `"":0`, `"a":[]`}
	patch := func(b []byte) {
		onlyLabels(wire.Request{ContentType: "application/merge-patch+json", Body: b})
	}
	decodetest.Search(t,
		decodetest.Case{Name: "call_token", Before: `{`, Between: ",", After: `}`, Units: units, Tokens: decodetest.JSONTokens(),
			Wrap:   func(b []byte) []byte { return []byte("e30." + base64.RawURLEncoding.EncodeToString(b) + ".c2ln") },
			Decode: func(b []byte) { _, _ = claimsOf(string(b)) }},
		decodetest.Case{Name: "call_token_dots", Units: []string{".", "..", "a."}, Decode: func(b []byte) { _, _ = claimsOf(string(b)) }},
		decodetest.Case{Name: "call_patch", Before: `{`, Between: ",", After: `}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: patch,
			Whole: [][]byte{decodetest.Keys(`{`, `{}`, `}`)}},
		decodetest.Case{Name: "call_labels", Before: `{"metadata":{"labels":{`, Between: ",", After: `}}}`, Units: []string{`"a":""`, `"a":null`, `"a":0`}, Tokens: decodetest.JSONTokens(), Decode: patch,
			Whole: [][]byte{decodetest.Keys(`{"metadata":{"labels":{`, `""`, `}}}`)}},
	)
}
