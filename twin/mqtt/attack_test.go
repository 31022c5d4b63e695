package mqtt

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestAttackDecoders(t *testing.T) {
	units := []string{`"a":{}`, `"a":null`, `"ab":{"actual":{}}`, `"a":{"actual":{"value":"b"},"metadata":{}}`, `"a":[]`, `"a":0`}
	update := func(b []byte) { _, _, _ = decodeUpdate(b) }
	var whole [][]byte
	for _, value := range []string{"null", "{}", `{"actual":{}}`, `{"expected":{"value":"a"}}`} {
		whole = append(whole, decodetest.Keys(`{"twin":{`, value, "}}"))
	}
	decodetest.Search(t,
		decodetest.Case{Name: "twin_update", Before: `{"twin":{`, Between: ",", After: "}}", Units: units, Tokens: decodetest.JSONTokens(), Whole: whole, Decode: update},
		decodetest.Case{Name: "twin_state", Before: "{", Between: ",", After: "}", Units: append(units, `"state":"ab"`, `"state":[]`), Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _, _ = decodeState(b) }},
		decodetest.Case{Name: "twin_conditions", Before: `{"conditions":[`, Between: ",", After: "]}", Units: []string{`{}`, `{"type":"a"}`, `{"status":true,"message":"b"}`, `null`}, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _, _ = decodeConditions(b) }},
		decodetest.Case{Name: "mapper_claim", Before: "{", Between: ",", After: "}", Units: []string{`"mapper":"a"`, `"instance":"b"`, `"holder":null`, `"a":{}`, `"b":[]`}, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _ = decodeClaim(b) }},
		decodetest.Case{Name: "twin_history_request", Before: `{"properties":[`, Between: ",", After: "]}", Units: []string{`"a"`, `""`, `null`, `0`}, Tokens: decodetest.JSONTokens(),
			Whole: [][]byte{decodetest.Keys(`{"after":{`, `0`, `}}`)}, Decode: func(b []byte) { _, _ = decodeHistory(b) }},
	)
}
