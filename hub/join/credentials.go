package join

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// File is the name of the one file that Credentials.Save writes.
const File = "identity.pem"

// Credentials are a node's key, its certificate, and the authorities that it
// trusts. They do not change.
type Credentials struct {
	Node  string
	Key   *ecdsa.PrivateKey
	Leaf  *x509.Certificate
	Roots []*x509.Certificate // at least one
}

// credentials makes them of what the cloud sent.
func credentials(key *ecdsa.PrivateKey, g grant) (Credentials, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Credentials{}, fmt.Errorf("join: encode the key: %w", err)
	}
	c, err := parseCredentials(bytes.Join([][]byte{encodePEM(pemKey, der), []byte(g.Certificate), []byte(g.CA)}, []byte("\n")))
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: its answer holds no usable certificate: %w", ErrServer, err)
	}
	return c, nil
}

// LoadCredentials reads what Save wrote into dir. Errors are or wrap
// ErrNoCredentials or ErrCredentials.
func LoadCredentials(dir string) (Credentials, error) {
	name := filepath.Join(dir, File)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Credentials{}, fmt.Errorf("%w: %s does not exist", ErrNoCredentials, name)
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %w", ErrCredentials, err)
	}
	c, err := parseCredentials(b)
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %s: %w", ErrCredentials, name, err)
	}
	return c, nil
}

// Save writes the credentials into dir, which is made if it is not there, as
// one 0600 file, whole or not at all and durable when it returns.
func (c Credentials) Save(dir string) error {
	b, err := c.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("join: save credentials: %w", err)
	}
	if err := writeFile(filepath.Join(dir, File), b); err != nil {
		return fmt.Errorf("join: save credentials: %w", err)
	}
	return nil
}

// writeFile replaces a 0600 file atomically and makes that durable.
func writeFile(name string, b []byte) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+"-*") // 0600 by contract
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func (c Credentials) encode() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(c.Key)
	if err != nil {
		return nil, fmt.Errorf("join: encode the key: %w", err)
	}
	b := append(encodePEM(pemKey, der), encodePEM(pemCertificate, c.Leaf.Raw)...)
	for _, r := range c.Roots {
		b = append(b, encodePEM(pemCertificate, r.Raw)...)
	}
	return b, nil
}

// parseCredentials reads a key, one certificate of it, and the authorities.
func parseCredentials(b []byte) (Credentials, error) {
	var c Credentials
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		switch block.Type {
		case pemKey:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return c, err
			}
			var ok bool
			if c.Key, ok = key.(*ecdsa.PrivateKey); !ok {
				return c, errors.New("the key is not ECDSA")
			}
		case pemCertificate:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return c, err
			}
			if cert.IsCA {
				c.Roots = append(c.Roots, cert)
			} else {
				c.Leaf = cert
			}
		}
	}
	if c.Key == nil || c.Leaf == nil || len(c.Roots) == 0 {
		return c, errors.New("want a key, a certificate and an authority's certificate")
	}
	if pub, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(c.Key.Public()) {
		return c, errors.New("the certificate is not for this key")
	}
	var err error
	c.Node, err = NodeName(c.Leaf)
	return c, err
}

// Certificate is the node's certificate with its key, for crypto/tls.
func (c Credentials) Certificate() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{c.Leaf.Raw}, PrivateKey: c.Key, Leaf: c.Leaf}
}

// pool is what the node trusts.
func (c Credentials) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range c.Roots {
		p.AddCert(r)
	}
	return p
}
