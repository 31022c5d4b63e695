package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

const (
	JoinPath  = "/v1/join"  // where a Handler answers joins
	RenewPath = "/v1/renew" // where it answers renewals
	TrustPath = "/v1/ca"    // where it answers which authorities to trust

	// maxRequest and maxAnswer bound the bodies of both directions.
	maxRequest = 16 << 10
	maxAnswer  = 256 << 10

	// DefaultGrace is how long after it has expired a certificate is still renewed.
	DefaultGrace = 90 * 24 * time.Hour
	// requestTimeout bounds a request, its body's arrival included.
	requestTimeout = 15 * time.Second
	// requestsAtOnce is how many requests ask the stores at the same time.
	requestsAtOnce = 64
)

// The bodies of the requests and of their answer, in JSON.
type (
	joinRequest struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
		Node   string `json:"node"`
		CSR    string `json:"csr"` // PEM; only its key is used
		// Machine is what the machine says of its hardware, for the operator who approves.
		Machine string `json:"machine,omitempty"`

		from string // the address that it came from
	}
	renewRequest struct {
		Certificate string `json:"certificate"` // PEM, the one to be renewed
		CSR         string `json:"csr"`         // PEM, signed with its key or with a new one
		// Proof is, with a new key, the signature of the old one over proofText. Nodes
		// before version 0.2 always keep their key.
		Proof []byte `json:"proof,omitempty"`
	}
	grant struct {
		Certificate string    `json:"certificate,omitempty"` // PEM
		CA          string    `json:"ca"`                    // PEM, one or more
		Time        time.Time `json:"time"`                  // the cloud's clock, to tell a wrong one
		// Renew is when the certificate is to be renewed; nil means at two thirds of its life.
		Renew *time.Time `json:"renew,omitempty"`

		roots []*x509.Certificate // CA, once it was checked
	}
	failure struct {
		Code string `json:"code"`
		Text string `json:"error"`
	}
)

// HandlerConfig sets up a Handler. Keyring, Tokens and Names are required.
type HandlerConfig struct {
	Keyring *Keyring    // signs, and says whom to trust
	Tokens  Tokens      // the store of tokens
	Names   Names       // the store of which key has which name
	Ledger  Ledger      // nil remembers nothing
	Revoked RevokedKeys // nil revokes nothing
	// Approvals has the joins that wait for an operator; nil where no join waits. With
	// ApproveAll every join waits, else those whose Record says so.
	Approvals  Approvals
	ApproveAll bool

	Life time.Duration // of a node's certificate; 0 means DefaultNodeLife
	// Lives, if not nil, has other lives for some nodes. They are at least MinLife (0 means
	// 1 h) and at most MaxLife (0 means 10 years, or Life where that is longer).
	Lives            Lives
	MinLife, MaxLife time.Duration
	// RenewAt is the share of a certificate's life after which its node renews it: above
	// 0, below 1. 0 means two thirds.
	RenewAt float64
	// Grace is how long after it has expired a certificate is still renewed: its key
	// proves enough. 0 means DefaultGrace; negative means not at all.
	Grace time.Duration
	// Timeout bounds a request, the arrival of its body included. 0 means 15 s.
	Timeout time.Duration
	Logger  *slog.Logger // nil discards
}

// Handler answers at JoinPath, RenewPath and TrustPath. No request needs a
// client certificate: a join proves itself by its token, a renewal by the old
// certificate and a signature of its key, and what nodes are to trust is public.
// So a certificate that TLS would refuse, because it has expired or its authority is
// retired, can still be renewed.
//
// From one network (an IPv4 address, an IPv6 /64), and with one token, 20 requests may
// fail at once and one more each second. Then joins from there get ErrBusy, except 10 a
// second of all such networks together, since the address may be a load balancer's.
// Renewals that prove themselves are always answered.
type Handler struct {
	cfg   HandlerConfig
	limit *limiter
	// reserve counts the joins that are answered although their network has failed too
	// often.
	reserve *limiter
	slots   chan struct{}
	count   counts
}

// NewHandler checks cfg and makes a Handler.
func NewHandler(cfg HandlerConfig) (*Handler, error) {
	switch {
	case cfg.Keyring == nil:
		return nil, errors.New("join: HandlerConfig.Keyring is required")
	case cfg.Tokens == nil:
		return nil, errors.New("join: HandlerConfig.Tokens is required")
	case cfg.Names == nil:
		return nil, errors.New("join: HandlerConfig.Names is required")
	case cfg.ApproveAll && cfg.Approvals == nil:
		return nil, errors.New("join: HandlerConfig.Approvals is required with ApproveAll")
	case cfg.Life < 0 || cfg.Timeout < 0:
		return nil, errors.New("join: HandlerConfig.Life and Timeout must not be negative: leave them 0 for the default")
	}
	if err := cfg.setLives(); err != nil {
		return nil, err
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	cfg.Grace = max(cfg.Grace, 0)
	if cfg.Timeout == 0 {
		cfg.Timeout = requestTimeout
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg: cfg, limit: newLimiter(limitEvery), reserve: newLimiter(reserveEvery), slots: make(chan struct{}, requestsAtOnce)}, nil
}

// outcome is the result of a request.
type outcome struct {
	node   string
	cert   *x509.Certificate
	bundle []byte
	retry  time.Duration // with an ErrBusy
}

// ServeHTTP answers a join, a renewal, or what nodes are to trust.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	method := http.MethodPost
	var serve func(context.Context, *http.Request) (outcome, error)
	switch r.URL.Path {
	case JoinPath:
		serve = h.join
	case RenewPath:
		serve = h.renew
	case TrustPath:
		method = http.MethodGet
		serve = h.trust
	default:
		http.NotFound(w, r)
		return
	}
	if r.Method != method {
		w.Header().Set("Allow", method)
		http.Error(w, method+" only", http.StatusMethodNotAllowed)
		return
	}
	// The server's own limits cannot be so short: links share its port.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(h.cfg.Timeout))
	ctx, cancel := context.WithTimeout(r.Context(), h.cfg.Timeout)
	defer cancel()
	r.Body = http.MaxBytesReader(w, r.Body, maxRequest)
	out, err := serve(ctx, r)
	h.respond(w, r, out, err)
}

// respond answers, logs and counts.
func (h *Handler) respond(w http.ResponseWriter, r *http.Request, out outcome, err error) {
	log := h.cfg.Logger.With("node", out.node, "path", r.URL.Path, "addr", r.RemoteAddr)
	code, status := codeOf(err)
	h.count.add(r.URL.Path, code)
	switch {
	case errors.Is(err, ErrPending):
		log.Debug("join waits for approval")
		w.Header().Set("Retry-After", strconv.Itoa(int(pendingRetryMin/time.Second)))
		answer(w, status, failure{code, err.Error()})
	case errors.Is(err, ErrBusy):
		log.Debug("request was put off", "retry", out.retry)
		w.Header().Set("Retry-After", strconv.Itoa(int(out.retry/time.Second)+1))
		answer(w, status, failure{code, err.Error()})
	case err != nil:
		log.Warn("certificate was refused", "code", code, "err", err)
		if code == codeServer {
			err = ErrServer // a peer must not see internal errors
		}
		answer(w, status, failure{code, err.Error()})
	default:
		g := grant{CA: string(out.bundle), Time: h.cfg.Keyring.cfg.Now()}
		if out.cert != nil {
			log.Info("certificate was issued", "until", out.cert.NotAfter, "key", KeyHash(out.cert))
			g.Certificate = string(encodePEM(pemCertificate, out.cert.Raw))
			if h.cfg.RenewAt != 0 {
				at := shareOf(out.cert, h.cfg.RenewAt)
				g.Renew = &at
			}
		}
		answer(w, http.StatusOK, g)
	}
}

// enter takes one of the slots for requests that use the stores.
func (h *Handler) enter(ctx context.Context) (leave func(), err error) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case <-ctx.Done():
		return nil, ErrBusy
	}
}

func (h *Handler) join(ctx context.Context, r *http.Request) (outcome, error) {
	now := h.cfg.Keyring.cfg.Now()
	from := network(r.RemoteAddr)
	if wait := h.limit.over(from, now); wait > 0 {
		// The address may be a load balancer's: somebody who guesses tokens must not keep
		// all others out.
		if h.reserve.over("", now) > 0 {
			return outcome{retry: wait}, ErrBusy
		}
		h.reserve.failed("", now)
	}
	var req joinRequest
	if err := read(r, &req); err != nil {
		h.limit.failed(from, now)
		return outcome{}, err
	}
	token := "token " + req.ID
	if wait := h.limit.over(token, now); wait > 0 {
		return outcome{retry: wait}, ErrBusy
	}
	req.from = r.RemoteAddr
	out, err := h.joinOnce(ctx, req, now)
	if errors.Is(err, ErrPending) {
		h.limit.failed(token, now) // a machine that waits asks seldom
	}
	for _, guess := range []error{ErrRequest, ErrNodeName, ErrTokenInvalid, ErrTokenExpired, ErrTokenUsed, ErrTokenNode} {
		if errors.Is(err, guess) {
			h.limit.failed(from, now)
			h.limit.failed(token, now)
		}
	}
	return out, err
}

// trust answers what nodes are to trust. A node that shows its certificate proves that it
// has it: the earlier key is no longer valid.
func (h *Handler) trust(ctx context.Context, r *http.Request) (outcome, error) {
	out := outcome{bundle: h.cfg.Keyring.Bundle()}
	replacer, ok := h.cfg.Names.(KeyReplacer)
	if !ok || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return out, nil
	}
	leaf := r.TLS.VerifiedChains[0][0]
	node, err := NodeName(leaf)
	if err != nil {
		return out, nil // the answer is for everybody
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return out, err
	}
	defer leave()
	if err := replacer.Confirm(ctx, node, KeyHash(leaf)); err != nil {
		h.cfg.Logger.Warn("a renewed key was not confirmed: the earlier key stays valid until the node connects", "node", node, "err", err)
	}
	return out, nil
}

func (h *Handler) revoked(ctx context.Context, keyHash string) error {
	if h.cfg.Revoked == nil {
		return nil
	}
	return h.cfg.Revoked.Revoked(ctx, keyHash)
}

// issue signs a certificate and records it in the Ledger. If that fails, the node still
// gets the certificate.
func (h *Handler) issue(ctx context.Context, pub crypto.PublicKey, out outcome) (outcome, error) {
	issuer := h.cfg.Keyring.ring()
	cert, err := issuer.Issuer.IssueNode(pub, out.node, h.cfg.Keyring.cfg.Now(), h.life(ctx, out.node))
	if err != nil {
		return out, err
	}
	if h.cfg.Ledger != nil {
		if err := h.cfg.Ledger.Issued(ctx, out.node, cert, issuer.Issuer.Pin()); err != nil {
			h.cfg.Logger.Warn("the certificate that was issued is not recorded", "node", out.node, "err", err)
		}
	}
	out.cert, out.bundle = cert, issuer.bundle
	return out, nil
}

// parseCSR returns the key of a request that proves to have its private half.
func parseCSR(text string) (crypto.PublicKey, string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, "", fmt.Errorf("%w: csr is not PEM", ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("%w: csr: %w", ErrRequest, err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, "", fmt.Errorf("%w: csr: the key must be ECDSA P-256", ErrRequest)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, "", fmt.Errorf("%w: csr: %w", ErrRequest, err)
	}
	return csr.PublicKey, hash(csr.RawSubjectPublicKeyInfo), nil
}

func read(r *http.Request, into any) error {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return nil
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the peer has gone
}
