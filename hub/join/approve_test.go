package join_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// approving is a cloud where every join waits for an operator.
func approving(t *testing.T) *cloud {
	t.Helper()
	c := newCloud(t)
	c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.ApproveAll = true }), c.ServerTLS())
	return c
}

// TestJoinWaitsForApproval: a machine gets its certificate when an operator has approved
// it, also when its token is over by then, and after a restart.
func TestJoinWaitsForApproval(t *testing.T) {
	for name, tt := range map[string]struct {
		all     bool // ApproveAll
		approve bool // the token's own
		later   func(c *cloud, tok join.Token)
	}{
		"every join":        {all: true},
		"the token says so": {approve: true},
		"the token ends":    {all: true, later: func(c *cloud, _ join.Token) { c.SetAhead(2 * time.Hour) }},
		"another secret": {approve: true, later: func(c *cloud, tok join.Token) {
			r, _ := c.Cloud.Store.Token(context.Background(), tok.ID)
			r.SecretHash = strings.Repeat("0", 64) // as good as deleted
			c.Add(r)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.ApproveAll = tt.all }), c.ServerTLS())
			tok := join.NewToken(c.Keyring.Pin())
			rec := tok.Record("edge-*", time.Now().Add(time.Hour))
			rec.Approve = tt.approve
			c.Add(rec)
			key, req := newKey(t), request(c, tok, "edge-1")
			req.Machine = "serial \x1b[31m7"
			for range 2 {
				if _, err := join.JoinWithKey(t.Context(), req, key); !errors.Is(err, join.ErrPending) {
					t.Fatal(err)
				}
			}
			a, ok := c.Waiting("edge-1")
			if !ok || a.Machine != "serial [31m7" || a.Address != "127.0.0.1" || a.Token != tok.ID || !strings.Contains(a.CSR, "CERTIFICATE REQUEST") {
				t.Errorf("the operator sees %+v", a)
			}
			if tt.later != nil {
				tt.later(c, tok)
			}
			if err := c.Decide("edge-1", true); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the answer may be lost
				cred, err := join.JoinWithKey(t.Context(), req, key)
				if err != nil || join.KeyHash(cred.Leaf) != a.KeyHash {
					t.Fatal(err)
				}
			}
			// What was approved is the key, and nobody else's.
			if _, err := join.Join(t.Context(), req); err == nil {
				t.Error("another key joined by the approval")
			}
		})
	}
}

// TestJoinDenied: a machine that was denied is told so, and its key is worthless.
func TestJoinDenied(t *testing.T) {
	c := approving(t)
	tok, key := c.token("edge-1", time.Hour), newKey(t)
	if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); !errors.Is(err, join.ErrPending) {
		t.Fatal(err)
	}
	if err := c.Decide("edge-1", false); err != nil {
		t.Fatal(err)
	}
	_, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key)
	if !errors.Is(err, join.ErrRevoked) || err.Error() != join.ErrDenied.Error() {
		t.Error(err)
	}
	for _, tok := range []join.Token{tok, c.token("edge-1", time.Hour)} {
		if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); !errors.Is(err, join.ErrRevoked) {
			t.Error("the key that was denied asks again:", err)
		}
	}
}

// TestWaitingMachines: of two machines that ask for one name one waits, and a hostile one
// neither takes the name nor learns who waits.
func TestWaitingMachines(t *testing.T) {
	c := approving(t)
	tok, key := c.token("edge-*", time.Hour), newKey(t)
	if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); !errors.Is(err, join.ErrPending) {
		t.Fatal(err)
	}
	if err := c.Decide("edge-1", true); err != nil {
		t.Fatal(err)
	}
	unknown := join.NewToken(c.CA.Pin())
	for name, tt := range map[string]struct {
		tok  join.Token
		want error
	}{
		"a token of its own":  {c.token("edge-*", time.Hour), join.ErrNameInUse},
		"no token":            {unknown, join.ErrTokenInvalid},
		"the same token":      {tok, join.ErrTokenUsed},
		"a token that is old": {c.token("edge-1", -time.Second), join.ErrTokenExpired},
	} {
		for _, node := range []string{"edge-1", "edge-2"} {
			want := tt.want
			if node == "edge-2" && errors.Is(want, join.ErrNameInUse) {
				continue
			}
			if node == "edge-2" && name == "a token that is old" {
				want = join.ErrTokenExpired
			}
			if _, err := join.Join(t.Context(), request(c, tt.tok, node)); !errors.Is(err, want) {
				t.Errorf("%s, for %s: %v, want %v", name, node, err, want)
			}
		}
	}
	// A machine that was approved for one name has no other.
	if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-2"), key); !errors.Is(err, join.ErrTokenUsed) {
		t.Error(err)
	}
	if _, err := join.JoinWithKey(t.Context(), request(c, unknown, "edge-2"), key); !errors.Is(err, join.ErrTokenInvalid) {
		t.Error(err)
	}
	if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); err != nil {
		t.Error(err)
	}
}

// TestWaitingIsLimited: a machine that asks without a pause is put off.
func TestWaitingIsLimited(t *testing.T) {
	c := approving(t)
	tok, key := c.token("edge-1", time.Hour), newKey(t)
	var err error
	for range 30 {
		if _, err = join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); !errors.Is(err, join.ErrPending) {
			break
		}
	}
	if !errors.Is(err, join.ErrBusy) {
		t.Errorf("got %v, want %v", err, join.ErrBusy)
	}
	// Others from the same address are answered.
	if _, err := join.JoinWithKey(t.Context(), request(c, c.token("edge-2", time.Hour), "edge-2"), newKey(t)); !errors.Is(err, join.ErrPending) {
		t.Error(err)
	}
}

// TestJoinWhenApproved waits until an operator approves, through a restart of the cloud.
func TestJoinWhenApproved(t *testing.T) {
	c := newCloud(t)
	down := false
	h := c.Handler(func(cfg *join.HandlerConfig) { cfg.ApproveAll = true })
	c.url = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}), c.ServerTLS())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := join.JoinWhenApproved(ctx, request(c, c.token("edge-1", time.Hour), "edge-1"), newKey(t), func(why error, next time.Duration) {
		if !errors.Is(why, join.ErrPending) || next < time.Second || next > 5*time.Second {
			t.Errorf("waits %s because of %v", next, why)
		}
		cancel() // the test does not wait
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	// A failure before the join waits, and one for good, are returned at once.
	down = true
	if _, err := join.JoinWhenApproved(t.Context(), request(c, c.token("edge-2", time.Hour), "edge-2"), newKey(t), nil); !errors.Is(err, join.ErrUnreachable) {
		t.Error(err)
	}
	down = false
	if _, err := join.JoinWhenApproved(t.Context(), request(c, c.token("edge-2", -time.Hour), "edge-2"), newKey(t), nil); !errors.Is(err, join.ErrTokenExpired) {
		t.Error(err)
	}
}

// TestApprovalIsConfigured: without a store of approvals nothing is issued that needs one.
func TestApprovalIsConfigured(t *testing.T) {
	c := newCloud(t)
	if _, err := join.NewHandler(join.HandlerConfig{Keyring: c.Keyring, Tokens: &c.Store, Names: &c.Store, ApproveAll: true}); err == nil {
		t.Error("ApproveAll without Approvals")
	}
	c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Approvals = nil }), c.ServerTLS())
	tok := join.NewToken(c.Keyring.Pin())
	rec := tok.Record("edge-1", time.Now().Add(time.Hour))
	rec.Approve = true
	c.Add(rec)
	if _, err := join.Join(t.Context(), request(c, tok, "edge-1")); !errors.Is(err, join.ErrServer) {
		t.Error(err)
	}
}

// recording keeps the last applicant.
type recording struct {
	join.Approvals
	last join.Applicant
}

func (r *recording) Approved(ctx context.Context, a join.Applicant) error {
	r.last = a
	return r.Approvals.Approved(ctx, a)
}

// TestApplicantIsBounded: what a machine says instead of its token, when that is over, is cut as
// what it says of its hardware is. The operator's terminal and the store get it.
func TestApplicantIsBounded(t *testing.T) {
	c := newCloud(t)
	seen := &recording{Approvals: &c.Cloud.Store}
	h := c.Handler(func(cfg *join.HandlerConfig) { cfg.ApproveAll, cfg.Approvals = true, seen })
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	tok := c.token("edge-*", time.Hour)
	ask := func(id, secret string) int {
		t.Helper()
		body, err := json.Marshal(map[string]string{"id": id, "secret": secret, "node": "edge-1", "machine": strings.Repeat("m", 4000), "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, join.JoinPath, bytes.NewReader(body)))
		return w.Code
	}
	if code := ask(tok.ID, tok.Secret); code != http.StatusAccepted || seen.last.Token != tok.ID {
		t.Fatal(code, seen.last)
	}
	if code := ask("\x1b[31m"+strings.Repeat("x", 4000), ""); code != http.StatusAccepted || len(seen.last.Token) != 64 || strings.Contains(seen.last.Token, "\x1b") || len(seen.last.Machine) != 128 {
		t.Errorf("%d, %+v", code, seen.last)
	}
}
