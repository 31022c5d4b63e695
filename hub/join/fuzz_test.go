package join

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
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

// FuzzRequests sends the handler arbitrary requests.
func FuzzRequests(f *testing.F) {
	ca, err := NewCA("fuzz", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	cert, err := ca.IssueNode(key.Public(), "n", time.Now(), time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	csr, err := newCSR(key)
	if err != nil {
		f.Fatal(err)
	}
	ring, err := NewKeyring(KeyringConfig{Authorities: Authorities{Issuer: ca}})
	if err != nil {
		f.Fatal(err)
	}
	h, err := NewHandler(HandlerConfig{Keyring: ring, Tokens: nothing{}, Names: nothing{}})
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range []any{
		joinRequest{ID: "a", Secret: "b", Node: "n", CSR: csr}, renewRequest{Certificate: string(encodePEM(pemCertificate, cert.Raw)), CSR: csr},
	} {
		b, err := json.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(true, b)
		f.Add(false, b)
	}
	f.Fuzz(func(t *testing.T, join bool, body []byte) {
		path := RenewPath
		if join {
			path = JoinPath
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body)))
		if w.Code < 400 {
			t.Fatalf("a certificate for nothing: %d %s", w.Code, w.Body)
		}
	})
}

// nothing is a store without tokens and names.
type nothing struct{}

func (nothing) Token(context.Context, string) (Record, error)             { return Record{}, ErrTokenInvalid }
func (nothing) Use(context.Context, string, string, string) error         { return ErrTokenInvalid }
func (nothing) Claim(context.Context, string, string) (bool, error)       { return true, nil }
func (nothing) Release(context.Context, string, string) error             { return nil }
func (nothing) Holder(context.Context, string) (holder string, err error) { return "", nil }

func FuzzParseAuthorities(f *testing.F) {
	ca, err := NewCA("fuzz", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	files, err := Authorities{Issuer: ca}.Files()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(files[fileCert], files[fileKey], files[fileCert])
	f.Fuzz(func(t *testing.T, cert, key, more []byte) {
		a, err := ParseAuthorities(map[string][]byte{fileCert: cert, fileKey: key, fileTrusted: more, fileBridges: more})
		if err == nil && (a.Issuer == nil || len(a.List()) == 0) {
			t.Fatal("nothing without an error")
		}
	})
}

// TestLimiter: the memory is fixed, and failures are forgiven with time.
func TestLimiter(t *testing.T) {
	l, now := newLimiter(limitEvery), time.Now()
	addr := network("[2001:db8::1]:4711")
	for range limitBurst {
		if wait := l.over(addr, now); wait != 0 {
			t.Fatal("put off too early:", wait)
		}
		l.failed(addr, now)
	}
	if wait := l.over(addr, now); wait != limitEvery {
		t.Error("waits", wait)
	}
	if wait := l.over(network("[2001:db8::2]:1"), now); wait == 0 {
		t.Error("a host got round it by another address of its network")
	}
	if wait := l.over(network("192.0.2.1:1"), now); wait != 0 {
		t.Log("two addresses share a slot: that may be")
	}
	if wait := l.over(addr, now.Add(limitEvery)); wait != 0 {
		t.Error("still waits", wait)
	}
	// A clock that is set back forgives nothing, and makes nobody wait for long.
	if wait := l.over(addr, now.Add(-time.Hour)); wait > limitEvery {
		t.Error("waits", wait)
	}
	for addr, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1", "[::ffff:192.0.2.1]:80": "192.0.2.1", "[2001:db8::1%eth0]:80": "2001:db8::/64", "pipe": "pipe",
	} {
		if got := network(addr); got != want {
			t.Errorf("%s is in %s, want %s", addr, got, want)
		}
	}
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
