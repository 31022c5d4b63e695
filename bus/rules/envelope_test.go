package rules

import (
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestEnvelope(t *testing.T) {
	for in, want := range map[string]string{
		`{"targetURL":"http://a","payload":"x y"}`:                   "POST x y text/plain; charset=utf-8",
		`{"method":"PUT","targetURL":"http://a","payload":{"a": 1}}`: `PUT {"a": 1} application/json`,
		`{"targetURL":"http://a","payload":null}`:                    "POST  ",
		`{"targetURL":"http://a"}`:                                   "POST  ",
	} {
		r, err := decodeRequest([]byte(in))
		body, kind := r.body()
		if got := r.Method + " " + string(body) + " " + kind; err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{``, `[]`, `{}`, `{"targetURL":1}`, `{"targetURL":"x","method":"a b"}`, `{"targetURL":"x","payload":}`} {
		if r, err := decodeRequest([]byte(bad)); err == nil {
			t.Errorf("%s is accepted: %+v", bad, r)
		}
	}
}

func TestLocalHost(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1:9060": true, "localhost": true, "LOCALHOST:1": true, "[::1]:9060": true, "127.9.9.9": true,
		"evil.example": false, "evil.example:9060": false, "10.0.0.1:9060": false, "": false, "localhost.evil.example": false,
	} {
		if localHost(host) != want {
			t.Errorf("%s: %t", host, !want)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"method":"PUT","targetURL":"http://a","payload":{"a": 1}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRequest(b)
		if err != nil {
			return
		}
		if r.TargetURL == "" || r.Method == "" {
			t.Errorf("%q is accepted as %+v", b, r)
		}
		r.body()
	})
}

// TestAttackDecoders searches for the envelope that costs a node most memory.
func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "rules_envelope", Before: `{"targetURL":"x","payload":[`, Between: ",", After: `]}`, Units: []string{`{}`, `[]`, `""`, `0`, `{"a":0}`},
		Tokens: decodetest.JSONTokens(), Whole: [][]byte{decodetest.Keys(`{"targetURL":"x","payload":{`, `0`, `}}`), decodetest.Keys(`{`, `0`, `}`)},
		Decode: func(b []byte) {
			if r, err := decodeRequest(b); err == nil {
				r.body()
			}
		},
	})
}
