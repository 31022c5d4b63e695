package join

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Keys makes and keeps a node's private keys elsewhere than in a file: in a TPM or a secure
// element, for example. The keys are ECDSA P-256. Its methods are called one at a time by an
// Identity.
//
//	key, err := keys.New(ctx)
//	...
//	cred, err := join.JoinWithKey(ctx, request, key)
//	...
//	err = cred.Save(dir) // without the key
//	...
//	cred, err = join.LoadCredentialsWith(ctx, dir, keys)
//	...
//	id, err := join.NewIdentity(join.IdentityConfig{Credentials: cred, Keys: keys, URL: url, Dir: dir})
type Keys interface {
	// New makes a key, which is kept when New returns.
	New(ctx context.Context) (crypto.Signer, error)
	// Key returns the key whose public half has that hash, see KeyHash.
	Key(ctx context.Context, keyHash string) (crypto.Signer, error)
	// Retain says that this key is the node's, durably: all others may be removed.
	Retain(ctx context.Context, keyHash string) error
}

// LoadCredentialsWith is LoadCredentials for a key that keys has. A file with a key in it is
// read as LoadCredentials does.
func LoadCredentialsWith(ctx context.Context, dir string, keys Keys) (Credentials, error) {
	c, err := LoadCredentials(dir)
	if err == nil || keys == nil || errors.Is(err, ErrNoCredentials) {
		return c, err
	}
	name := filepath.Join(dir, File)
	b, err := os.ReadFile(name)
	if err == nil {
		c, err = readCredentials(b)
	}
	if err == nil && c.Key == nil && c.Leaf != nil {
		c.Key, err = keys.Key(ctx, KeyHash(c.Leaf))
	}
	if err == nil {
		err = c.whole()
	}
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: %s: %w", ErrCredentials, name, err)
	}
	return c, nil
}

// nextOfKeys returns the key of the next certificate, of Keys.
func (i *Identity) nextOfKeys(ctx context.Context, used crypto.Signer) (crypto.Signer, error) {
	if i.next != nil && !sameKey(i.next, used) {
		return i.next, nil
	}
	key, err := i.cfg.Keys.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("join: make a key: %w", err)
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || pub.Curve.Params().BitSize != 256 {
		return nil, errors.New("join: make a key: that of IdentityConfig.Keys is not ECDSA P-256")
	}
	i.next = key
	return key, nil
}

// retain lets Keys remove the keys before this one.
func (i *Identity) retain(ctx context.Context, leaf *x509.Certificate) {
	if i.cfg.Keys == nil {
		return
	}
	if err := i.cfg.Keys.Retain(ctx, KeyHash(leaf)); err != nil {
		i.cfg.Logger.Warn("the node's earlier keys were not removed", "err", err)
	}
}
