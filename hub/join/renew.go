package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"slices"
)

// renewal is what a request for a renewal has proved.
type renewal struct {
	node string
	old  string           // hash of the key of the certificate to be renewed
	pub  crypto.PublicKey // to be signed
	key  string           // hash of pub
}

// renew signs the key of a certificate again, or a new key in its place, for a node that
// proves to have both. A replayed request is harmless: its sender gets a certificate
// without the key.
func (h *Handler) renew(ctx context.Context, r *http.Request) (outcome, error) {
	req, err := h.proveOld(r)
	out := outcome{node: req.node}
	if err != nil {
		h.limit.failed(network(r.RemoteAddr), h.cfg.Keyring.cfg.Now())
		return out, err
	}
	leave, err := h.enter(ctx)
	if err != nil {
		return out, err
	}
	defer leave()
	for _, key := range []string{req.old, req.key} {
		if err := h.revoked(ctx, key); err != nil {
			return out, err
		}
	}
	keys, err := namesKeys(ctx, h.cfg.Names, req.node)
	switch {
	case err != nil:
		return out, err
	case len(keys) == 0:
		return out, fmt.Errorf("%w: its name was freed", ErrIdentity)
	case !slices.Contains(keys, req.old):
		return out, fmt.Errorf("%w: its name belongs to another key now, that of another machine or of a later renewal", ErrIdentity)
	}
	if req.key != req.old {
		replacer, ok := h.cfg.Names.(KeyReplacer)
		if !ok {
			return out, errOtherKey
		}
		if err := replacer.Replace(ctx, req.node, req.old, req.key); err != nil {
			return out, err
		}
	}
	return h.issue(ctx, req.pub, out)
}

// namesKeys returns the keys that have a name, the newest first.
func namesKeys(ctx context.Context, names Names, node string) ([]string, error) {
	if r, ok := names.(KeyReplacer); ok {
		return r.Keys(ctx, node)
	}
	holder, err := names.Holder(ctx, node)
	if err != nil || holder == "" {
		return nil, err
	}
	return []string{holder}, nil
}

var errOtherKey = fmt.Errorf("%w: the request is signed with another key", ErrIdentity)

// proveOld checks everything about a renewal that needs no store.
func (h *Handler) proveOld(r *http.Request) (renewal, error) {
	var req renewRequest
	if err := read(r, &req); err != nil {
		return renewal{}, err
	}
	block, _ := pem.Decode([]byte(req.Certificate))
	if block == nil {
		return renewal{}, fmt.Errorf("%w: certificate is not PEM", ErrRequest)
	}
	old, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return renewal{}, fmt.Errorf("%w: certificate: %w", ErrRequest, err)
	}
	out := renewal{old: KeyHash(old)}
	if out.pub, out.key, err = parseCSR(req.CSR); err != nil {
		return renewal{}, err
	}
	if out.key != out.old {
		pub, ok := old.PublicKey.(*ecdsa.PublicKey)
		if !ok || !ecdsa.VerifyASN1(pub, proofText(old, out.key), req.Proof) {
			return renewal{}, errOtherKey
		}
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 && KeyHash(r.TLS.PeerCertificates[0]) != out.old {
		return renewal{}, fmt.Errorf("%w: the connection shows another certificate", ErrIdentity)
	}
	out.node, err = h.cfg.Keyring.verifyOld(old, h.cfg.Grace)
	return out, err
}

// proofText is what the old key signs so that a new one may take its place.
func proofText(old *x509.Certificate, fresh string) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "edgekit: %s takes the place of %s of certificate %s", fresh, KeyHash(old), old.SerialNumber))
	return sum[:]
}
