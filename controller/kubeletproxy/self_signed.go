package kubeletproxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

const certificateLife = 365 * 24 * time.Hour

// selfSigned makes a self-signed server certificate, as a kubelet without a
// certificate does. It is kept in memory and made again before it expires.
type selfSigned struct {
	host string // an IP

	mu    sync.Mutex
	cert  *tls.Certificate
	fresh time.Time // until when it is used
}

func (c *selfSigned) current() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.cert != nil && now.Before(c.fresh) {
		return c.cert, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("kubeletproxy: certificate: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("kubeletproxy: certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "edgekit cloudcore kubelet endpoint"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(c.host)}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("kubeletproxy: certificate: %w", err)
	}
	c.cert, c.fresh = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, now.Add(certificateLife*2/3)
	return c.cert, nil
}
