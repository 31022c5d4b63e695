package join

import (
	"context"
	"crypto"
	"crypto/rand"
	"time"
)

// NewAuthority has a value when a server showed an unknown authority.
func (i *Identity) NewAuthority() <-chan struct{} { return i.newAuthority }

// RenewAsBefore renews as nodes did that never changed their key.
func RenewAsBefore(ctx context.Context, url string, cred Credentials) error {
	return RenewFor(ctx, url, cred, cred.Key, nil)
}

// RenewFor renews for a key, with the proof of another one.
func RenewFor(ctx context.Context, url string, cred Credentials, key, proof crypto.Signer) error {
	id, err := NewIdentity(IdentityConfig{Credentials: cred, URL: url})
	if err != nil {
		return err
	}
	csr, err := newCSR(key)
	if err != nil {
		return err
	}
	req := renewRequest{Certificate: string(encodePEM(pemCertificate, cred.Leaf.Raw)), CSR: csr}
	if proof != nil {
		_, fresh, err := parseCSR(csr)
		if err != nil {
			return err
		}
		if req.Proof, err = proof.Sign(rand.Reader, proofText(cred.Leaf, fresh), crypto.SHA256); err != nil {
			return err
		}
	}
	_, err = id.ask(ctx, id.config, RenewPath, req)
	return err
}

// SameKey reports whether two keys are the same.
func SameKey(a, b crypto.Signer) bool { return sameKey(a, b) }

// RenewTime is when a certificate is renewed.
func RenewTime(c Credentials) time.Time { return c.renewAt() }
