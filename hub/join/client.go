package join

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Request has the arguments of Join. URL, Token and Node are required.
type Request struct {
	URL   string // the cloud's, "https://host:port"
	Token string
	Node  string // the name that this machine is to have
	Clock *Clock // used to verify certificates, from which it learns the time; nil means the system's
	// Machine describes the hardware, such as a serial number, to the operator who
	// approves the join; of more than 128 bytes only the first count. May be empty.
	Machine string
}

// Join makes a key, checks the server by the token's pin, and trades the token
// for a certificate. Nothing is written; see Credentials.Save. Errors are or
// wrap those of this package. A Join whose answer was lost has used the token:
// where that matters use JoinWithKey, with a PendingKey.
func Join(ctx context.Context, req Request) (Credentials, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Credentials{}, fmt.Errorf("join: make a key: %w", err)
	}
	return JoinWithKey(ctx, req, key)
}

// JoinWithKey is Join with an ECDSA P-256 key that the machine has already. With the key
// of an earlier attempt it succeeds even if that attempt used the token.
func JoinWithKey(ctx context.Context, req Request, key crypto.Signer) (Credentials, error) {
	token, err := ParseToken(req.Token)
	if err != nil {
		return Credentials{}, err
	}
	if err := CheckNodeName(req.Node); err != nil {
		return Credentials{}, fmt.Errorf("%w: have %q", err, req.Node)
	}
	csr, err := newCSR(key)
	if err != nil {
		return Credentials{}, err
	}
	pinned := func(host string) *tls.Config {
		return &tls.Config{
			MinVersion: tls.VersionTLS13,
			// No root is known yet: VerifyConnection checks the pin instead.
			InsecureSkipVerify: true,
			VerifyConnection:   func(s tls.ConnectionState) error { return verifyPin(s, token.Pin, host, req.Clock) },
		}
	}
	g, err := ask(ctx, pinned, req.URL, JoinPath, joinRequest{ID: token.ID, Secret: token.Secret, Node: req.Node, CSR: csr, Machine: printable(req.Machine, maxMachine)})
	if err != nil {
		return Credentials{}, err
	}
	c, err := credentials(key, g)
	if err != nil {
		return Credentials{}, err
	}
	if c.Node != req.Node {
		return Credentials{}, fmt.Errorf("%w: it answered with a certificate for %q", ErrServer, c.Node)
	}
	req.Clock.Learn(c.Leaf.NotBefore)
	return c, nil
}

// verifyPin accepts a server whose chain leads to the pinned authority and
// that is the host that was asked for.
func verifyPin(s tls.ConnectionState, pin, host string, clock *Clock) error {
	err := ErrPin
	for _, ca := range s.PeerCertificates[1:] {
		if ca.IsCA && KeyHash(ca) == pin {
			if _, err = verifyServer(s, []*x509.Certificate{ca}, host, clock); err == nil {
				return nil
			}
		}
	}
	return err
}

// verifyServer verifies a server's chain as crypto/tls would, but with a clock that is
// never behind what the certificates themselves prove. It returns the chain, root last.
func verifyServer(s tls.ConnectionState, roots []*x509.Certificate, host string, clock *Clock) ([]*x509.Certificate, error) {
	leaf := s.PeerCertificates[0]
	at := clock.Now()
	between := x509.NewCertPool()
	for i, c := range s.PeerCertificates {
		if c.NotBefore.After(at) {
			at = c.NotBefore
		}
		if i > 0 {
			between.AddCert(c)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{Roots: poolOf(roots), Intermediates: between, CurrentTime: at})
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return nil, fmt.Errorf("%w: it is %s here, and %q ended %s", ErrClock, stamp(at), bad.Cert.Subject, stamp(bad.Cert.NotAfter))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPin, err)
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrServerName, err)
	}
	// Learn only the times that the signed chain proves to have passed; this machine's
	// own clock proves nothing.
	for _, c := range chains[0] {
		clock.Learn(c.NotBefore)
	}
	return chains[0], nil
}

func newCSR(key crypto.Signer) (string, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", fmt.Errorf("join: make a certificate request: %w", err)
	}
	return string(encodePEM("CERTIFICATE REQUEST", der)), nil
}

// ask sends one request and reads its answer; without a body it is a GET. It checks that
// by the authorities in the answer the server itself is trusted.
func ask(ctx context.Context, config func(host string) *tls.Config, base, path string, body any) (grant, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "wss") {
		return grant{}, fmt.Errorf("%w: %q is not an address: want https://host:port", ErrUnreachable, base)
	}
	u.Scheme, u.Path = "https", path
	method, out := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		if out, err = json.Marshal(body); err != nil {
			return grant{}, fmt.Errorf("join: encode the request: %w", err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(out))
	if err != nil {
		return grant{}, fmt.Errorf("join: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: config(u.Hostname()),
		DisableKeepAlives: true, TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: 16 << 10,
	}
	defer t.CloseIdleConnections()
	client := &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return grant{}, unreachable(err)
	}
	defer resp.Body.Close()
	in, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return grant{}, unreachable(err)
	}
	g, err := parseGrant(resp.StatusCode, in)
	if err != nil {
		return grant{}, err
	}
	return g, g.vouchFor(resp.TLS)
}

// vouchFor returns an ErrServer if by the authorities in the grant its own sender would
// not be trusted: a node that kept them would lock itself out.
func (g *grant) vouchFor(s *tls.ConnectionState) error {
	var err error
	if g.roots, err = parseCerts([]byte(g.CA)); err != nil {
		return fmt.Errorf("%w: its answer names no usable authority: %w", ErrServer, err)
	}
	if len(g.roots) == 0 {
		return fmt.Errorf("%w: its answer names no authority", ErrServer)
	}
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	leaf := s.PeerCertificates[0]
	// The times were checked when the connection was made.
	_, err = leaf.Verify(x509.VerifyOptions{Roots: poolOf(g.roots), Intermediates: between, CurrentTime: leaf.NotAfter.Add(-time.Second)})
	if err != nil {
		return fmt.Errorf("%w: by the authorities that it names it cannot be trusted itself: %w", ErrServer, err)
	}
	return nil
}

// unreachable distinguishes a server that is not trusted from one that is not there.
func unreachable(err error) error {
	for _, known := range []error{ErrPin, ErrServerName, ErrClock, context.Canceled} {
		if errors.Is(err, known) {
			if u, ok := errors.AsType[*url.Error](err); ok {
				err = u.Err
			}
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// parseGrant reads the cloud's answer.
func parseGrant(status int, body []byte) (grant, error) {
	if status == http.StatusOK {
		var g grant
		if err := json.Unmarshal(body, &g); err != nil {
			return grant{}, fmt.Errorf("%w: its answer is not JSON: %w", ErrServer, err)
		}
		return g, nil
	}
	var f failure
	if json.Unmarshal(body, &f) == nil {
		for _, e := range wire {
			if f.Code == e.code {
				text := strings.ToValidUTF8(f.Text[:min(len(f.Text), 1024)], "?")
				return grant{}, &remoteError{e.err, cmp.Or(strings.ReplaceAll(text, "\n", " "), e.err.Error())}
			}
		}
	}
	return grant{}, fmt.Errorf("%w: it answered with status %d", ErrServer, status)
}
