package decodetest_test

import (
	"encoding/json"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// The test of a decoder says how an attacker would begin; the search goes on from there.
func ExampleSearch() {
	_ = func(t *testing.T) { // TestAttackDecoders
		decodetest.Search(t, decodetest.Case{
			Name: "strings", Before: `["`, Between: `","`, After: `"]`, Units: []string{"a", ""}, Tokens: decodetest.JSONTokens(),
			Decode: func(input []byte) {
				var list []string
				_ = json.Unmarshal(input, &list) // some inputs are bad
			},
		})
	}
	// Output:
}
