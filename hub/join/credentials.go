package join

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is the name of the one file that Credentials.Save writes, PendingFile that
// of a key whose join is under way, and RenewalFile that of a key whose renewal is.
const (
	File        = "identity.pem"
	PendingFile = "pending.pem"
	RenewalFile = "renewal.pem"
)

// Credentials are a node's key, its certificate, and the authorities that it
// trusts. They do not change.
type Credentials struct {
	Node  string
	Key   crypto.Signer // ECDSA P-256; an *ecdsa.PrivateKey unless it is one of Keys
	Leaf  *x509.Certificate
	Roots []*x509.Certificate // at least one
	// RenewAt is when the cloud wants Leaf to be renewed. The zero value, and a time that is
	// not within its life, mean at two thirds of that.
	RenewAt time.Time
}

// credentials makes Credentials of the cloud's answer.
func credentials(key crypto.Signer, g grant) (Credentials, error) {
	c := Credentials{Key: key, Roots: g.roots}
	block, _ := pem.Decode([]byte(g.Certificate))
	if block == nil {
		return Credentials{}, fmt.Errorf("%w: its answer holds no certificate", ErrServer)
	}
	var err error
	if c.Leaf, err = x509.ParseCertificate(block.Bytes); err == nil {
		err = c.check()
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: its answer holds no usable certificate: %w", ErrServer, err)
	}
	if g.Renew != nil {
		c.RenewAt = *g.Renew
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

// Save writes the credentials into dir, which it makes if needed, as one 0600 file,
// atomically and durably. If it fails, on a full disk for example, the earlier file is
// unchanged. A key that is one of Keys is not written. It removes the stored keys of a join and of a renewal that were under way:
// both have ended. It also removes what writes that were cut off have left, which may hold a
// key.
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
	for _, name := range []string{PendingFile, RenewalFile} {
		_ = os.Remove(filepath.Join(dir, name)) // a file that stays does no harm
	}
	removeCutOff(dir)
	return nil
}

// PendingKey returns the key for a join: the one that an earlier attempt has left in dir,
// or else a new one, which is durable when it returns. With it a JoinWithKey whose answer
// was lost can be repeated, by the same machine with the same token, even after a crash.
// A damaged file is replaced.
func PendingKey(dir string) (*ecdsa.PrivateKey, error) {
	return keptKey(filepath.Join(dir, PendingFile), nil)
}

// keptKey returns the key in the file, unless that is the key used; else a new one, which
// is durable in the file when it returns.
func keptKey(name string, used crypto.Signer) (*ecdsa.PrivateKey, error) {
	if b, err := os.ReadFile(name); err == nil {
		if block, _ := pem.Decode(b); block != nil {
			if key, err := parseKey(block.Bytes); err == nil && !sameKey(key, used) {
				return key, nil
			}
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("join: read the pending key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("join: make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("join: encode the key: %w", err)
	}
	if err = os.MkdirAll(filepath.Dir(name), 0o700); err == nil {
		err = writeFile(name, encodePEM(pemKey, der))
	}
	if err != nil {
		return nil, fmt.Errorf("join: keep the key: %w", err)
	}
	return key, nil
}

// DropPendingKey removes the key of a join that will not be repeated.
func DropPendingKey(dir string) error {
	if err := os.Remove(filepath.Join(dir, PendingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("join: drop the pending key: %w", err)
	}
	return nil
}

// temporary begins the names that writeFile uses meanwhile.
func temporary(name string) string { return "." + name + "-" }

// removeCutOff removes what writes that were cut off have left in dir.
func removeCutOff(dir string) {
	files, _ := os.ReadDir(dir) // a file that stays does no harm
	for _, f := range files {
		for _, name := range []string{File, PendingFile, RenewalFile} {
			if strings.HasPrefix(f.Name(), temporary(name)) {
				_ = os.Remove(filepath.Join(dir, f.Name()))
			}
		}
	}
}

// writeFile replaces a 0600 file atomically and makes that durable.
func writeFile(name string, b []byte) (err error) {
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, temporary(filepath.Base(name))+"*") // 0600 by contract
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
	var b []byte
	if key, ok := c.Key.(*ecdsa.PrivateKey); ok { // any other key is kept by Keys
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("join: encode the key: %w", err)
		}
		b = encodePEM(pemKey, der)
	}
	leaf := &pem.Block{Type: pemCertificate, Bytes: c.Leaf.Raw}
	if !c.RenewAt.IsZero() {
		leaf.Headers = map[string]string{renewHeader: c.RenewAt.UTC().Format(time.RFC3339)}
	}
	b = append(b, pem.EncodeToMemory(leaf)...)
	return append(b, encodeCerts(c.Roots)...), nil
}

// parseCredentials reads a key, one certificate of it, and the authorities.
func parseCredentials(b []byte) (Credentials, error) {
	c, err := readCredentials(b)
	if err != nil {
		return c, err
	}
	return c, c.whole()
}

// readCredentials reads what there is of credentials.
func readCredentials(b []byte) (Credentials, error) {
	var c Credentials
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		switch block.Type {
		case pemKey:
			key, err := parseKey(block.Bytes)
			if err != nil {
				return c, err
			}
			c.Key = key
		case pemCertificate:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return c, err
			}
			if cert.IsCA {
				c.Roots = append(c.Roots, cert)
			} else {
				c.Leaf = cert
				// A damaged time is as good as none.
				c.RenewAt, _ = time.Parse(time.RFC3339, block.Headers[renewHeader])
			}
		}
	}
	return c, nil
}

// whole verifies that no part is missing and that they belong together, and sets Node.
func (c *Credentials) whole() error {
	if c.Key == nil || c.Leaf == nil || len(c.Roots) == 0 {
		return errors.New("want a key, a certificate and an authority's certificate")
	}
	return c.check()
}

// check verifies that the parts belong together, and sets Node.
func (c *Credentials) check() (err error) {
	if pub, ok := c.Leaf.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(c.Key.Public()) {
		return errors.New("the certificate is not for this key")
	}
	c.Node, err = NodeName(c.Leaf)
	return err
}

// sameKey reports whether the keys are the same; one that is nil is no other.
func sameKey(a, b crypto.Signer) bool {
	if a == nil || b == nil {
		return false
	}
	pub, ok := a.Public().(*ecdsa.PublicKey)
	return ok && pub.Equal(b.Public())
}

// parseKey reads an ECDSA key in PKCS #8.
func parseKey(der []byte) (*ecdsa.PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not ECDSA")
	}
	return ec, nil
}

// Certificate is the node's certificate with its key, for crypto/tls.
func (c Credentials) Certificate() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{c.Leaf.Raw}, PrivateKey: c.Key, Leaf: c.Leaf}
}
