package schema

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// TestAttackDecoders searches for the configuration of a device that costs most memory:
// everybody who may write a Device can write it, and a driver decodes it into types of
// its own.
func TestAttackDecoders(t *testing.T) {
	type register struct {
		Name   string            `json:"name"`
		Offset [16]int           `json:"offset"`
		Extra  map[string]string `json:"extra"`
	}
	type config struct {
		Registers []register     `json:"registers"`
		Any       map[string]any `json:"any"`
	}
	decode := func(b []byte) {
		var c Options
		if c.UnmarshalJSON(b) == nil {
			_ = c.Decode(&config{})
		}
	}
	units := []string{`{}`, `[]`, `""`, `0`, `{"name":"a"}`, `{"extra":{}}`, `[[]]`}
	decodetest.Search(t,
		decodetest.Case{Name: "device_config", Before: `{"registers":[`, Between: ",", After: `]}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: decode},
		decodetest.Case{Name: "device_config_any", Before: `{"any":{"a":[`, Between: ",", After: `]}}`, Units: units, Tokens: decodetest.JSONTokens(), Decode: decode,
			Whole: [][]byte{decodetest.Keys(`{"any":{`, `{}`, `}}`)}},
		decodetest.Case{Name: "device_config_merge", Before: `{"a":[`, Between: ",", After: `]}`, Units: units, Tokens: decodetest.JSONTokens(),
			Whole:  [][]byte{decodetest.Keys(`{`, `0`, `}`)},
			Decode: func(b []byte) { _, _ = Options(b).Merge(Options(`{"a":1}`)) }},
	)
}
