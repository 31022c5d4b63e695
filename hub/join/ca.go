package join

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	DefaultCALife     = 10 * 365 * 24 * time.Hour // how long an authority's certificate is valid
	DefaultServerLife = 365 * 24 * time.Hour      // how long a server's is
	DefaultNodeLife   = 90 * 24 * time.Hour       // how long a node's is

	// skew is how far a certificate is dated back, for machines whose clocks are late.
	skew = 5 * time.Minute

	nodePrefix = "system:node:"
	nodeGroup  = "system:nodes"

	pemCertificate = "CERTIFICATE"
	pemKey         = "PRIVATE KEY"
)

// CA is a certificate authority: an ECDSA P-256 key with its certificate. It does not
// change, and reads no clock: callers pass the time.
type CA struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority with that name, valid from now for DefaultCALife. Give two
// authorities of one cloud different names, so that people can tell them apart.
func NewCA(name string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("join: make the CA's key: %w", err)
	}
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: now.Add(-skew), NotAfter: now.Add(DefaultCALife),
		// No limit of the path's length: an authority vouches for its
		// successor, see Authorities.Publish.
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &CA{cert: cert, key: key}, nil
}

// LoadCA reads what CertificatePEM and KeyPEM wrote, or any authority whose
// key is in PKCS #8, SEC 1 or PKCS #1. Errors are ErrCA with the reason.
func LoadCA(certPEM, keyPEM []byte) (*CA, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCA, err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	switch {
	case !ok:
		return nil, fmt.Errorf("%w: its key cannot sign", ErrCA)
	case !pair.Leaf.IsCA || !pair.Leaf.BasicConstraintsValid:
		return nil, fmt.Errorf("%w: the certificate of %q is not an authority's (CA:TRUE is missing)", ErrCA, pair.Leaf.Subject)
	case pair.Leaf.KeyUsage != 0 && pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0:
		return nil, fmt.Errorf("%w: the certificate of %q may not sign certificates (key usage keyCertSign is missing)", ErrCA, pair.Leaf.Subject)
	}
	return &CA{cert: pair.Leaf, key: key}, nil
}

// Check returns an ErrCA with the reason if the authority cannot be used at that time: it
// has expired or is not valid yet, or what it signs would not be accepted, for example
// because of its name constraints or key usages.
func (ca *CA) Check(now time.Time) error {
	switch {
	case now.After(ca.cert.NotAfter):
		return fmt.Errorf("%w: it expired %s and it is %s: replace it, all nodes must join again", ErrCA, stamp(ca.cert.NotAfter), stamp(now))
	case now.Before(ca.cert.NotBefore):
		return fmt.Errorf("%w: it is valid from %s and it is %s: check this machine's clock", ErrCA, stamp(ca.cert.NotBefore), stamp(now))
	}
	leaf, err := ca.IssueNode(ca.key.Public(), "check", now, time.Hour)
	if err != nil {
		return err
	}
	_, err = leaf.Verify(x509.VerifyOptions{Roots: ca.Pool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return fmt.Errorf("%w: a certificate that it signs for a node is not accepted: %w", ErrCA, err)
	}
	return nil
}

// stamp formats a time for errors.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Certificate is the authority's certificate. Do not change it.
func (ca *CA) Certificate() *x509.Certificate { return ca.cert }

// CertificatePEM is the authority's certificate, which is public.
func (ca *CA) CertificatePEM() []byte { return encodePEM(pemCertificate, ca.cert.Raw) }

// KeyPEM is the authority's key in PKCS #8. Keep it secret.
func (ca *CA) KeyPEM() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(ca.key)
	if err != nil {
		return nil, fmt.Errorf("join: encode the CA's key: %w", err)
	}
	return encodePEM(pemKey, der), nil
}

// Pin is the SHA-256, in hex, of the authority's public key. It stays the same when the
// certificate is renewed with the same key.
func (ca *CA) Pin() string { return KeyHash(ca.cert) }

// Pool holds the authority's certificate, to verify others with.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// IssueServer makes a key and a server certificate for the hosts, which are
// names and IP addresses, valid from now for DefaultServerLife or until the
// authority ends. The chain holds the authority's certificate too, since Join
// checks the pin on it.
func (ca *CA) IssueServer(now time.Time, hosts ...string) (tls.Certificate, error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, errors.New("join: a server certificate needs at least one host name or IP address")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("join: make the server's key: %w", err)
	}
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: hosts[0][:min(len(hosts[0]), 64)]},
		NotBefore: now.Add(-skew), NotAfter: now.Add(DefaultServerLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	cert, err := sign(t, ca.cert, key.Public(), ca.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw, ca.cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// IssueNode makes a client certificate for a node's public key, valid from now
// for life or until the authority ends. The subject comes from node alone.
func (ca *CA) IssueNode(pub crypto.PublicKey, node string, now time.Time, life time.Duration) (*x509.Certificate, error) {
	if err := CheckNodeName(node); err != nil {
		return nil, err
	}
	return sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: nodePrefix + node, Organization: []string{nodeGroup}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, ca.cert, pub, ca.key)
}

// NodeName reads a node's name from its certificate, which is Kubernetes' own
// form: CN=system:node:<name>, O=system:nodes. The certificate must have been
// verified.
func NodeName(cert *x509.Certificate) (string, error) {
	name, ok := strings.CutPrefix(cert.Subject.CommonName, nodePrefix)
	if !ok || CheckNodeName(name) != nil || !slices.Contains(cert.Subject.Organization, nodeGroup) {
		return "", fmt.Errorf("join: certificate for %q is not a node's: want CN=system:node:<name> and O=system:nodes", cert.Subject.CommonName)
	}
	return name, nil
}

func sign(t, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("join: serial number: %w", err)
	}
	t.SerialNumber = serial
	if !t.IsCA && t.NotAfter.After(parent.NotAfter) {
		t.NotAfter = parent.NotAfter
	}
	if t.NotAfter.Before(t.NotBefore.Add(skew)) {
		return nil, fmt.Errorf("%w: its certificate ends %s: replace it", ErrCA, stamp(parent.NotAfter))
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, key)
	if err != nil {
		return nil, fmt.Errorf("join: sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("join: sign a certificate: %w", err)
	}
	return cert, nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
