package join

import (
	"net/http"
	"testing"
	"time"
)

func FuzzParseGrant(f *testing.F) {
	f.Add(200, []byte(`{"certificate":"x","ca":"y","time":"2026-01-02T03:04:05Z"}`))
	f.Add(403, []byte(`{"code":"token-used","error":"no"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if _, err := parseGrant(status, body); err == nil && status != http.StatusOK {
			t.Fatal("a failure was taken for a grant")
		}
	})
}

func FuzzParseCSR(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n")
	f.Fuzz(func(t *testing.T, s string) {
		pub, keyHash, err := parseCSR(s)
		if err == nil && (pub == nil || keyHash == "") {
			t.Fatal("nothing without an error")
		}
	})
}

func FuzzParseCredentials(f *testing.F) {
	ca, err := NewCA("fuzz", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ca.CertificatePEM())
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCredentials(b)
		if err == nil && (c.Key == nil || c.Leaf == nil || len(c.Roots) == 0) {
			t.Fatal("incomplete without an error")
		}
	})
}
