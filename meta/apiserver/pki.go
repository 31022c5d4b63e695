package apiserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The authority's certificates do not expire: they prove only this node to itself and to
// its pods, their keys never leave it, and a node without a clock must not lose its own
// API. Remove the folder to get a new authority.
var (
	authorityBegin = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	authorityEnd   = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280, 4.1.2.5
)

const (
	caFile         = "ca.pem" // certificate and key
	kubeconfigFile = "admin.kubeconfig"
)

// Authority signs the server's certificate and the administrator's. Make one with
// OpenAuthority. It does not change.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// OpenAuthority reads the authority from the folder dir. If there is none, it makes one, and
// the folder with mode 0700. An unreadable authority is an error: pods that trust it would
// not trust a new one.
func OpenAuthority(dir string) (*Authority, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("meta/apiserver: the authority's folder %q is not an absolute path", dir)
	}
	removeUnfinished(dir)
	name := filepath.Join(dir, caFile)
	text, err := os.ReadFile(name)
	if err == nil {
		a, err := parseAuthority(text)
		if err != nil {
			return nil, fmt.Errorf("meta/apiserver: %s: %w: remove it, and a new one is made", name, err)
		}
		return a, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	a, err := newAuthority()
	if err != nil {
		return nil, err
	}
	text, err = a.pem()
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = replaceFile(name, text)
	}
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	return a, nil
}

func newAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	t := &x509.Certificate{
		Subject: pkix.Name{CommonName: "edgekit node API"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	cert, err := signCertificate(t, t, key, key)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

func signCertificate(t, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	t.SerialNumber, t.NotBefore, t.NotAfter = serial, authorityBegin, authorityEnd
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	return cert, nil
}

func parseAuthority(text []byte) (*Authority, error) {
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, errors.New("not an authority with an ECDSA key")
	}
	return &Authority{pair.Leaf, key}, nil
}

// CertPEM returns the authority's certificate in PEM, for the clients to trust.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *Authority) pem() ([]byte, error) {
	key, err := keyPEM(a.key)
	return append(a.CertPEM(), key...), err
}

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("meta/apiserver: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func (a *Authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a key and a certificate for it.
func (a *Authority) issue(t *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("meta/apiserver: %w", err)
	}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	cert, err := signCertificate(t, a.cert, key, a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}

// server is the certificate by which clients know the API: by the names that
// they know the cluster's by, and by every name and address given.
func (a *Authority) server(hosts ...string) (tls.Certificate, error) {
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "kubernetes"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range append([]string{
		"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
	}, hosts...) {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return a.issue(t)
}

// kubeconfig makes its reader the node's administrator.
func (a *Authority) kubeconfig(address, node string) ([]byte, error) {
	pair, err := a.issue(&x509.Certificate{Subject: pkix.Name{CommonName: adminName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, err
	}
	key, err := keyPEM(pair.PrivateKey.(*ecdsa.PrivateKey)) // issue made it
	if err != nil {
		return nil, err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})
	return fmt.Appendf(nil, `# The node's administrator at the node's own API. Whoever can read this file is it.
apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster:
    server: https://%[2]s
    certificate-authority-data: %[3]s
users:
- name: %[1]s-admin
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s-admin
`, node, address, base64.StdEncoding.EncodeToString(a.CertPEM()), base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)), nil
}

// unfinished begins the names of files that are being written.
const unfinished = ".new-"

// removeUnfinished removes the files that a power cut has left unfinished. They have keys. Whoever
// opens the authority is the only one who writes into its folder.
func removeUnfinished(dir string) {
	entries, _ := os.ReadDir(dir) // without any there are none
	for _, d := range entries {
		if strings.HasPrefix(d.Name(), unfinished) {
			_ = os.Remove(filepath.Join(dir, d.Name())) // the next one tries again
		}
	}
}

// replaceFile writes a file, mode 0600, that is there whole or not at all.
func replaceFile(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), unfinished) // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already when all went well
	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
