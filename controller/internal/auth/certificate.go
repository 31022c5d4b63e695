package auth

import (
	"context"
	"crypto/x509"
	"time"
)

// Times of reading authorities.
const (
	refreshEvery = time.Minute
	refreshRetry = 2 * time.Second // after a failure
)

// KeepFresh calls refresh again and again until ctx ends. It calls failed with the first of
// several failures in a row.
func KeepFresh(ctx context.Context, refresh func(context.Context) error, failed func(error)) {
	warned := false
	for {
		wait := refreshEvery
		if err := refresh(ctx); err != nil && ctx.Err() == nil {
			wait = refreshRetry
			if !warned {
				failed(err)
			}
			warned = true
		} else {
			warned = false
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// VerifyClient verifies the certificates that a client has shown, its own first.
func VerifyClient(roots *x509.CertPool, chain []*x509.Certificate) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}
