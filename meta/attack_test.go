package meta_test

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta"
)

// TestAttackDecoders searches for the body of a deletion that costs most.
func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{Name: "not_found_body", Before: `{`, Between: ",", After: `}`, Tokens: decodetest.JSONTokens(),
		Units:  []string{`"reason":0`, `"reason":"a"`, `"reason":[]`, `"reason":{}`, `"a":{}`},
		Decode: func(b []byte) { meta.SaysNotFound(b) }})
}
