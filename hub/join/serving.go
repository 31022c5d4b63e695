package join

import (
	"crypto/tls"
	"errors"
	"sync"
	"time"
)

// ServerCertificate returns the certificate of a further server, for hosts, which are
// names and IP addresses: for example of kubelet endpoints, so that an API server that is
// given Bundle verifies them. It is made at its first use, and again at two thirds of its
// life and when the Issuer changes; its key is never on disk. The function may be called
// by several goroutines at once.
func (k *Keyring) ServerCertificate(hosts ...string) (func() (*tls.Certificate, error), error) {
	if len(hosts) == 0 {
		return nil, errors.New("join: a server certificate needs at least one host name or IP address")
	}
	var (
		mu     sync.Mutex
		cert   *tls.Certificate
		issuer string
		remake time.Time
	)
	return func() (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		r, now := k.ring(), k.cfg.Now()
		if cert != nil && issuer == r.Issuer.Pin() && now.Before(remake) {
			return cert, nil
		}
		made, err := r.Issuer.IssueServer(now, hosts...)
		if err != nil {
			return nil, err
		}
		for _, c := range r.shown()[1:] { // the first is in it already
			made.Certificate = append(made.Certificate, c.Raw)
		}
		cert, issuer, remake = &made, r.Issuer.Pin(), twoThirds(made.Leaf)
		return cert, nil
	}, nil
}
