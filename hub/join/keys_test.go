package join_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

// module keeps keys as a TPM does: they sign, and cannot be read.
type module struct {
	keys map[string]crypto.Signer
	err  error
}

// handle is a key of a module.
type handle struct{ crypto.Signer }

func (m *module) New(context.Context) (crypto.Signer, error) {
	if m.err != nil {
		return nil, m.err
	}
	key := handle{generateKey()}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	m.keys[hex.EncodeToString(sum[:])] = key
	return key, nil
}

func (m *module) Key(_ context.Context, keyHash string) (crypto.Signer, error) {
	if key, ok := m.keys[keyHash]; ok {
		return key, nil
	}
	return nil, errors.New("the module has no such key")
}

func (m *module) Retain(_ context.Context, keyHash string) error {
	m.keys = map[string]crypto.Signer{keyHash: m.keys[keyHash]}
	return nil
}

// TestKeysElsewhere: a node whose keys are in a module joins, renews with new keys, and starts
// again; no key is ever in a file.
func TestKeysElsewhere(t *testing.T) {
	c := newCloud(t)
	m, dir := &module{keys: make(map[string]crypto.Signer)}, t.TempDir()
	key, err := m.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cred, err := join.JoinWithKey(t.Context(), request(c, c.Token("edge-1"), "edge-1"), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := cred.Save(dir); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if cred, err = join.LoadCredentialsWith(t.Context(), dir, m); err != nil {
			t.Fatal(err)
		}
		id := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Dir, cfg.Keys = dir, m })
		if err := id.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if join.SameKey(id.Credentials().Key, cred.Key) || len(m.keys) != 1 {
			t.Errorf("the key was kept, or is not alone: %d keys", len(m.keys))
		}
		if _, err := newGuard(t, c, nil).Attach(t.Context(), helloOf(id.Credentials())); err != nil {
			t.Error(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, join.File))
	if err != nil || bytes.Contains(text, []byte("PRIVATE KEY")) {
		t.Error("a key is in the file:", err)
	}
	if _, err := join.LoadCredentials(dir); !errors.Is(err, join.ErrCredentials) {
		t.Error("read without its key:", err)
	}
	if _, err := join.LoadCredentialsWith(t.Context(), dir, &module{}); !errors.Is(err, join.ErrCredentials) {
		t.Error("another module:", err)
	}
	if _, err := join.LoadCredentialsWith(t.Context(), t.TempDir(), m); !errors.Is(err, join.ErrNoCredentials) {
		t.Error("an empty folder:", err)
	}
	// A module that makes no key does not let the certificate expire.
	m.err = errors.New("full")
	if cred, err = join.LoadCredentialsWith(t.Context(), dir, m); err != nil {
		t.Fatal(err)
	}
	if err := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Dir, cfg.Keys = dir, m }).Renew(t.Context()); err != nil {
		t.Error(err)
	}
}

func generateKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}
