package wire

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestAttackDecoders(t *testing.T) {
	units := []string{`"warnings":[]`, `"warnings":["",""]`, `"path":"ab"`, `"path":[]`, `"code":"a"`, `"a":{}`, `"method":"\n"`}
	decodetest.Search(t,
		decodetest.Case{Name: "api_request", Before: "{", Between: ",", After: "}\nx", Units: units, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _ = DecodeRequest(b) }},
		decodetest.Case{Name: "api_response", Before: `{"code":200,`, Between: ",", After: "}\nx", Units: units, Tokens: decodetest.JSONTokens(),
			Decode: func(b []byte) { _, _ = DecodeResponse(b) }},
		decodetest.Case{Name: "api_warnings", Before: `{"code":200,"warnings":[`, Between: ",", After: "]}\nx", Units: []string{`""`, `"ab"`, `0`, `{}`},
			Decode: func(b []byte) { _, _ = DecodeResponse(b) }},
	)
}
