package join_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// asked is the answer to a request.
type asked struct {
	status      int
	code        string // of a refusal
	certificate *x509.Certificate
	header      http.Header
}

// ask sends a body to a path, with or without a client certificate.
func (c *cloud) ask(t *testing.T, method, path string, body any, as *join.Credentials) asked {
	t.Helper()
	b, raw := body.([]byte)
	if !raw {
		var err error
		if b, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	cfg := &tls.Config{RootCAs: c.CA.Pool(), MinVersion: tls.VersionTLS13}
	if as != nil {
		cfg.Certificates = []tls.Certificate{*as.Certificate()}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, c.url+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out struct{ Code, Certificate string }
	_ = json.Unmarshal(text, &out) // some refusals are plain text
	a := asked{status: resp.StatusCode, code: out.Code, header: resp.Header}
	if block, _ := pem.Decode([]byte(out.Certificate)); block != nil {
		if a.certificate, err = x509.ParseCertificate(block.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// csr makes a certificate request for key, with that subject.
func csr(t testing.TB, key any, subject string) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{CommonName: "system:node:" + subject, Organization: []string{"system:nodes", "system:masters"}},
		DNSNames: []string{subject},
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

func certPEM(cert *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
}

type fields map[string]string

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestNobodyElse tries on every path to become node b with the token and the certificate
// of node a. The tests of hub, wsconn and quicconn do the same for the link.
func TestNobodyElse(t *testing.T) {
	c := newCloud(t)
	other := newCloud(t)
	a, b := c.joined(t, "a"), c.joined(t, "b")
	foreign := other.joined(t, "b")
	server, err := c.CA.IssueServer(time.Now(), "b")
	if err != nil {
		t.Fatal(err)
	}
	forA := c.token("a", time.Hour)
	aToken := func(node, csr string) fields {
		return fields{"id": forA.ID, "secret": forA.Secret, "node": node, "csr": csr}
	}
	for _, tt := range []struct {
		name   string
		method string
		path   string
		body   any
		as     *join.Credentials
		want   string // the node that is named by the certificate; empty for none
		code   string
	}{
		{"join as b with a's token", "POST", join.JoinPath, aToken("b", csr(t, newKey(t), "b")), nil, "", "token-node"},
		{"the same over a connection as a", "POST", join.JoinPath, aToken("b", csr(t, newKey(t), "b")), &a, "", "token-node"},
		{"the same over a connection as b", "POST", join.JoinPath, aToken("b", csr(t, newKey(t), "b")), &b, "", "token-node"},
		{"join as a, which has another key", "POST", join.JoinPath, aToken("a", csr(t, newKey(t), "b")), nil, "", "name-in-use"},
		{"join as a with its key, the request says b", "POST", join.JoinPath, aToken("a", csr(t, a.Key, "b")), nil, "a", ""},
		{"renew b with a's key", "POST", join.RenewPath, fields{"certificate": certPEM(b.Leaf), "csr": csr(t, a.Key, "b")}, nil, "", "identity"},
		{"renew b with a's key, as a", "POST", join.RenewPath, fields{"certificate": certPEM(b.Leaf), "csr": csr(t, a.Key, "b")}, &a, "", "identity"},
		{"renew b with b's request, as a", "POST", join.RenewPath, fields{"certificate": certPEM(b.Leaf), "csr": csr(t, b.Key, "b")}, &a, "", "identity"},
		{"renew a, the request says b", "POST", join.RenewPath, fields{"certificate": certPEM(a.Leaf), "csr": csr(t, a.Key, "b"), "node": "b"}, &a, "a", ""},
		{"renew b's certificate of another cloud", "POST", join.RenewPath, fields{"certificate": certPEM(foreign.Leaf), "csr": csr(t, foreign.Key, "b")}, nil, "", "identity"},
		{"renew a server's certificate", "POST", join.RenewPath, fields{"certificate": certPEM(server.Leaf), "csr": csr(t, server.PrivateKey, "b")}, nil, "", "identity"},
		{"renew the authority's certificate", "POST", join.RenewPath, fields{"certificate": certPEM(c.CA.Certificate()), "csr": csr(t, a.Key, "b")}, nil, "", "identity"},
		{"renew nothing, as a", "POST", join.RenewPath, fields{"csr": csr(t, a.Key, "b")}, &a, "", "request"},
		{"what to trust", "GET", join.TrustPath, fields{"node": "b"}, &a, "", ""},
		{"another path", "POST", "/v1/other", aToken("b", csr(t, newKey(t), "b")), &a, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := c.ask(t, tt.method, tt.path, tt.body, tt.as)
			name := ""
			if got.certificate != nil {
				var err error
				if name, err = join.NodeName(got.certificate); err != nil {
					t.Fatal(err)
				}
				s := got.certificate
				if len(s.Subject.Organization) != 1 || len(s.DNSNames) != 0 || s.IsCA || len(s.ExtKeyUsage) != 1 || s.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
					t.Errorf("the request decided about more than its key: %q %v", s.Subject, s.DNSNames)
				}
			}
			if name != tt.want || got.code != tt.code {
				t.Errorf("got a certificate of %q, code %q; want %q, %q", name, got.code, tt.want, tt.code)
			}
		})
	}
	if holder, err := c.Holder(t.Context(), "b"); err != nil || holder != join.KeyHash(b.Leaf) {
		t.Error("b lost its name:", err)
	}
}

// TestBadRequests: a bad request is refused with its code, and the next request is
// served.
func TestBadRequests(t *testing.T) {
	c := newCloud(t)
	tok := c.token("*", time.Hour)
	weak, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	wide, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := csr(t, newKey(t), "n")
	forged := strings.Replace(good, "A", "B", 5)
	with := func(csr string) fields { return fields{"id": tok.ID, "secret": tok.Secret, "node": "n", "csr": csr} }
	for _, tt := range []struct {
		name   string
		method string
		path   string
		body   any
		status int
	}{
		{"no JSON", "POST", join.JoinPath, []byte("{"), 400},
		{"other JSON", "POST", join.JoinPath, []byte(`{"id":[1]}`), 400},
		{"nothing", "POST", join.JoinPath, []byte{}, 400},
		{"no CSR", "POST", join.JoinPath, with(""), 400},
		{"a CSR of garbage", "POST", join.JoinPath, with("-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"), 400},
		{"a CSR that was changed", "POST", join.JoinPath, with(forged), 400},
		{"an RSA key", "POST", join.JoinPath, with(csr(t, weak, "n")), 400},
		{"another curve", "POST", join.JoinPath, with(csr(t, wide, "n")), 400},
		{"a huge body", "POST", join.JoinPath, with(strings.Repeat("x", 1<<20)), 400},
		{"a huge renewal", "POST", join.RenewPath, fields{"certificate": strings.Repeat("x", 1<<20)}, 400},
		{"a name of garbage", "POST", join.JoinPath, fields{"id": tok.ID, "secret": tok.Secret, "node": "../n", "csr": good}, 400},
		{"an ID of garbage", "POST", join.JoinPath, fields{"id": "../../secret", "secret": tok.Secret, "node": "n", "csr": good}, 403},
		{"GET of a join", "GET", join.JoinPath, []byte{}, 405},
		{"POST of what to trust", "POST", join.TrustPath, []byte{}, 405},
		{"no path", "GET", "/", []byte{}, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.ask(t, tt.method, tt.path, tt.body, nil); got.status != tt.status || got.certificate != nil {
				t.Errorf("answered with %d %q, want %d", got.status, got.code, tt.status)
			}
		})
	}
	if r, err := c.Store.Token(t.Context(), tok.ID); err != nil || r.UsedBy != "" {
		t.Error("the token was used up:", err)
	}
}

// TestSlowBody: a peer that sends half of a request is cut off at the time limit.
func TestSlowBody(t *testing.T) {
	c := newCloud(t)
	url := serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Timeout = 50 * time.Millisecond }), c.ServerTLS())
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), &tls.Config{RootCAs: c.CA.Pool(), MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", join.JoinPath); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Error(resp.Status)
	}
}

// TestGuessing: an address that guesses tokens must wait, but a node that renews from
// there need not.
func TestGuessing(t *testing.T) {
	c := newCloud(t)
	node := c.joined(t, "edge-1")
	guess := func() asked {
		tok := join.NewToken(c.CA.Pin())
		return c.ask(t, "POST", join.JoinPath, fields{"id": tok.ID, "secret": tok.Secret, "node": "n", "csr": csr(t, newKey(t), "n")}, nil)
	}
	last := asked{}
	for range 1000 { // the bursts and what is forgiven meanwhile
		if last = guess(); last.status != http.StatusForbidden {
			break
		}
	}
	if last.status != http.StatusTooManyRequests || last.code != "busy" || last.header.Get("Retry-After") == "" {
		t.Errorf("answered with %d %q, Retry-After %q", last.status, last.code, last.header.Get("Retry-After"))
	}
	if err := identity(t, c, node).Renew(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestGuessingBehindABalancer: all requests come from one address, and somebody there
// guesses until the address must wait. Others still join; a token whose secret is guessed
// must wait itself.
func TestGuessingBehindABalancer(t *testing.T) {
	c := newCloud(t)
	guess := func(tok join.Token) int {
		return c.ask(t, "POST", join.JoinPath, fields{"id": tok.ID, "secret": "x", "node": "n", "csr": csr(t, newKey(t), "n")}, nil).status
	}
	for range 25 { // more than the address may
		guess(join.NewToken(c.CA.Pin()))
	}
	c.joined(t, "edge-1")
	one, status := c.Token("edge-2"), 0
	for range 1000 {
		if status = guess(one); status != http.StatusForbidden {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("a token is guessed for and answered with %d", status)
	}
}

func TestCounts(t *testing.T) {
	c := newCloud(t)
	h := c.Handler()
	c.url = serve(t, h, c.ServerTLS())
	id := identity(t, c, c.joined(t, "edge-1"))
	if err := id.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.Forget("edge-1")
	if err := id.Renew(t.Context()); err == nil {
		t.Fatal("renewed")
	}
	want := []join.Count{{Path: join.TrustPath, Result: "ok", N: 1}, {Path: join.JoinPath, Result: "ok", N: 1}, {Path: join.RenewPath, Result: "identity", N: 2}} // for a new key and for the old one
	if got := h.Counts(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("have %v, want %v", got, want)
	}
}

func TestHandlerConfig(t *testing.T) {
	c := newCloud(t)
	for _, cfg := range []join.HandlerConfig{
		{}, {Keyring: c.Keyring}, {Keyring: c.Keyring, Tokens: &c.Store},
		{Keyring: c.Keyring, Tokens: &c.Store, Names: &c.Store, Life: -1},
		{Keyring: c.Keyring, Tokens: &c.Store, Names: &c.Store, Timeout: -1},
	} {
		if _, err := join.NewHandler(cfg); err == nil || !strings.Contains(err.Error(), "HandlerConfig.") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := join.NewKeyring(join.KeyringConfig{}); err == nil {
		t.Error("a keyring without an authority")
	}
}
