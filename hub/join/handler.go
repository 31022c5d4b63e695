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
	"time"
)

const (
	// JoinPath and RenewPath are where a Handler is mounted.
	JoinPath  = "/v1/join"
	RenewPath = "/v1/renew"
	// maxBody bounds requests and answers.
	maxBody = 64 << 10
)

// The bodies of both requests and of their answer, in JSON.
type (
	joinRequest struct {
		ID     string `json:"id"`
		Secret string `json:"secret"`
		Node   string `json:"node"`
		CSR    string `json:"csr"` // PEM; only its key is used
	}
	renewRequest struct {
		CSR string `json:"csr"`
	}
	grant struct {
		Certificate string    `json:"certificate"` // PEM
		CA          string    `json:"ca"`          // PEM, one or more
		Time        time.Time `json:"time"`        // the cloud's clock
	}
	failure struct {
		Code string `json:"code"`
		Text string `json:"error"`
	}
)

// HandlerConfig sets up a Handler. CA, Tokens and Names are required.
type HandlerConfig struct {
	CA     *CA
	Tokens Tokens
	Names  Names
	Life   time.Duration    // of a node's certificate; 0 means DefaultNodeLife
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger     // nil discards
}

// Handler answers at JoinPath and RenewPath. The server must ask for client
// certificates without requiring them, see CA.ServerTLS.
type Handler struct {
	cfg HandlerConfig
}

// NewHandler checks cfg and makes a Handler.
func NewHandler(cfg HandlerConfig) (*Handler, error) {
	switch {
	case cfg.CA == nil:
		return nil, errors.New("join: HandlerConfig.CA is required")
	case cfg.Tokens == nil:
		return nil, errors.New("join: HandlerConfig.Tokens is required")
	case cfg.Names == nil:
		return nil, errors.New("join: HandlerConfig.Names is required")
	case cfg.Life < 0:
		return nil, errors.New("join: HandlerConfig.Life is negative: leave it 0 for one year")
	}
	if cfg.Life == 0 {
		cfg.Life = DefaultNodeLife
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg: cfg}, nil
}

// ServeHTTP answers a join or a renewal.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST only", http.StatusMethodNotAllowed)
		return
	}
	var cert *x509.Certificate
	var node string
	var err error
	switch r.URL.Path {
	case JoinPath:
		cert, node, err = h.join(w, r)
	case RenewPath:
		cert, node, err = h.renew(w, r)
	default:
		http.NotFound(w, r)
		return
	}
	log := h.cfg.Logger.With("node", node, "path", r.URL.Path, "addr", r.RemoteAddr)
	if err != nil {
		log.Warn("certificate was refused", "error", err)
		refuse(w, err)
		return
	}
	log.Info("certificate was issued", "until", cert.NotAfter)
	answer(w, http.StatusOK, grant{
		Certificate: string(encodePEM(pemCertificate, cert.Raw)), CA: string(h.cfg.CA.CertificatePEM()), Time: h.cfg.Now(),
	})
}

func (h *Handler) join(w http.ResponseWriter, r *http.Request) (*x509.Certificate, string, error) {
	var req joinRequest
	if err := read(w, r, &req); err != nil {
		return nil, "", err
	}
	if err := CheckNodeName(req.Node); err != nil {
		return nil, "", err
	}
	pub, keyHash, err := parseCSR(req.CSR)
	if err != nil {
		return nil, req.Node, err
	}
	now := h.cfg.Now()
	if err := h.redeem(r.Context(), req, keyHash, now); err != nil {
		return nil, req.Node, err
	}
	cert, err := h.cfg.CA.IssueNode(pub, req.Node, now, h.cfg.Life)
	return cert, req.Node, err
}

// redeem uses the token and claims the name, both or neither. The name comes
// first: if it is taken, the token stays good for another name.
func (h *Handler) redeem(ctx context.Context, req joinRequest, keyHash string, now time.Time) error {
	rec, err := h.cfg.Tokens.Token(ctx, req.ID)
	if err != nil {
		return err
	}
	if err := rec.check(req.Secret, req.Node, keyHash, now); err != nil {
		return err
	}
	fresh, err := h.cfg.Names.Claim(ctx, req.Node, keyHash)
	if err != nil {
		return err
	}
	err = h.cfg.Tokens.Use(ctx, req.ID, req.Node, keyHash)
	if err != nil && fresh {
		if undo := h.cfg.Names.Release(ctx, req.Node, keyHash); undo != nil {
			return errors.Join(err, undo)
		}
	}
	return err
}

// renew signs the key of the certificate that the peer has shown, once more.
func (h *Handler) renew(w http.ResponseWriter, r *http.Request) (*x509.Certificate, string, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, "", ErrIdentity
	}
	old := r.TLS.VerifiedChains[0][0]
	node, err := NodeName(old)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrIdentity, err)
	}
	var req renewRequest
	if err := read(w, r, &req); err != nil {
		return nil, node, err
	}
	pub, keyHash, err := parseCSR(req.CSR)
	if err != nil {
		return nil, node, err
	}
	if keyHash != KeyHash(old) {
		return nil, node, fmt.Errorf("%w: the request is for another key", ErrIdentity)
	}
	// A name that was taken from this key is not given back by a renewal.
	fresh, err := h.cfg.Names.Claim(r.Context(), node, keyHash)
	if err == nil && fresh {
		err = errors.Join(ErrIdentity, h.cfg.Names.Release(r.Context(), node, keyHash))
	}
	if err != nil {
		return nil, node, err
	}
	cert, err := h.cfg.CA.IssueNode(pub, node, h.cfg.Now(), h.cfg.Life)
	return cert, node, err
}

// parseCSR gives the key of a request that proves to have its private half.
func parseCSR(text string) (crypto.PublicKey, string, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, "", fmt.Errorf("%w: csr is not PEM", ErrRequest)
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, "", fmt.Errorf("%w: csr: %w", ErrRequest, err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, "", fmt.Errorf("%w: csr: %w", ErrRequest, err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, "", fmt.Errorf("%w: csr: the key must be ECDSA P-256", ErrRequest)
	}
	return csr.PublicKey, hash(csr.RawSubjectPublicKeyInfo), nil
}

func read(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return nil
}

// refuse tells the peer what it may know of an error.
func refuse(w http.ResponseWriter, err error) {
	for _, e := range wire {
		if errors.Is(err, e.err) {
			answer(w, e.status, failure{e.code, err.Error()})
			return
		}
	}
	answer(w, http.StatusInternalServerError, failure{"server", ErrServer.Error()})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the peer has gone: nobody to tell
}
