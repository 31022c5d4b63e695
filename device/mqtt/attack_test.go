package mqtt

import (
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestAttackDecoders(t *testing.T) {
	units := []string{
		`{}`, `null`, `{"id":"a"}`, `{"twin":{"a":{}}}`, `{"spec":{}}`, `{"spec":{"properties":[{},{},{},{},{},{},{},{}]}}`,
		`{"model":{}}`, `{"model":{"properties":[{"transform":{}},{"transform":{"mapping":[{},{},{}]}}]}}`, `{"model":{"properties":[{},{},{},{},{},{},{},{}]}}`, `[]`, `0`,
	}
	detail := func(b []byte) { _, _ = decodeDetail(b) }
	decodetest.Search(t,
		decodetest.Case{Name: "mapper_detail", Before: `{"devices":[`, Between: ",", After: "]}", Units: units, Tokens: decodetest.JSONTokens(),
			Whole: [][]byte{decodetest.Keys(`{"devices":[{"twin":{`, "null", "}}]}"), decodetest.Keys(`{"devices":[{"twin":{`, "{}", "}}]}")}, Decode: detail},
		decodetest.Case{Name: "mapper_membership", Before: `{"added_devices":[`, Between: ",", After: "]}", Units: units, Tokens: decodetest.JSONTokens(),
			Whole:  [][]byte{[]byte(`{"removed_devices":[` + strings.Repeat("{},", 1000) + `{}]}`)},
			Decode: func(b []byte) { _, _ = decodeMembership(b) }},
		decodetest.Case{Name: "mapper_document", Before: `{"twin":{`, Between: ",", After: "}}", Units: []string{`"a":{}`, `"a":null`, `"a":{"current":{}}`}, Tokens: decodetest.JSONTokens(),
			Whole:  [][]byte{decodetest.Keys(`{"twin":{`, "null", "}}"), decodetest.Keys(`{"twin":{`, "{}", "}}"), decodetest.Keys(`{"twin":{`, `{"current":{"expected":{}}}`, "}}")},
			Decode: func(b []byte) { _, _, _ = decodeDocument(b) }},
		decodetest.Case{Name: "mapper_claim_result", Before: `{"holder":"a","waiting":[`, Between: ",", After: "]}", Units: []string{`"a"`, `""`, `null`}, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _, _ = decodeClaimResult(b) }},
		decodetest.Case{Name: "mapper_method_call", Before: `{"method":"a",`, Between: ",", After: "}", Units: []string{`"parameters":{}`, `"parameters":{"a":[0,0,0]}`, `"method":"b"`, `"deadline":1`}, Tokens: decodetest.JSONTokens(),
			Whole: [][]byte{decodetest.Keys(`{"method":"a","parameters":{`, "{}", "}}")},
			Decode: func(b []byte) {
				_, _, _ = decodeCall(bus.Message{Topic: "$hw/events/device/a/b/method/call", Payload: b})
			}},
	)
}
