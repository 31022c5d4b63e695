package join

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

// TestAttackDecoders searches for the requests and answers that cost most. Both are also
// limited to 16 KiB.
func TestAttackDecoders(t *testing.T) {
	units := []string{`"a":{}`, `"a":[]`, `"a":"b"`, `"node":"ab"`, `"token":""`, `"token":[]`, `"csr":"\n"`, `"certificate":{}`, `"a":[[],[]]`, `"code":1`}
	of := func(name string, decode func([]byte)) decodetest.Case {
		return decodetest.Case{Name: name, Before: "{", Between: ",", After: "}", Units: units, Tokens: decodetest.JSONTokens(), Decode: decode}
	}
	request := func(into func() any) func([]byte) {
		return func(b []byte) {
			_ = read(&http.Request{Body: http.MaxBytesReader(httptest.NewRecorder(), readCloser{bytes.NewReader(b)}, maxRequest), ContentLength: int64(len(b))}, into())
		}
	}
	decodetest.Search(t,
		of("join_request", request(func() any { return new(joinRequest) })),
		of("join_renewal", request(func() any { return new(renewRequest) })),
		of("join_grant", func(b []byte) { _, _ = parseGrant(http.StatusOK, b) }),
		of("join_failure", func(b []byte) { _, _ = parseGrant(http.StatusForbidden, b) }),
	)
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }
