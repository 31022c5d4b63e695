package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/notaryproject/notation-core-go/signature/cose"
	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/registry"
	"github.com/notaryproject/notation-go/signer"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
)

// Signer signs the files of a release.
type Signer struct {
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // empty: no signatures in Notation's form
}

// Load reads a key, and its certificate chain if certFile is not empty, from PEM files.
func Load(keyFile, certFile string) (*Signer, error) {
	key, err := readKey(keyFile)
	if err != nil {
		return nil, err
	}
	s := &Signer{key: key}
	if certFile == "" {
		return s, nil
	}
	body, err := os.ReadFile(certFile)
	if err != nil {
		return nil, fmt.Errorf("sign: certificate: %w", err)
	}
	for block, rest := pem.Decode(body); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("sign: certificate %s: %w", certFile, err)
		}
		s.chain = append(s.chain, c)
	}
	if len(s.chain) == 0 {
		return nil, fmt.Errorf("sign: %s has no certificate: want PEM, the key's own first", certFile)
	}
	if !key.PublicKey.Equal(s.chain[0].PublicKey) {
		return nil, fmt.Errorf("sign: the first certificate in %s is not that of the key %s", certFile, keyFile)
	}
	return s, nil
}

func readKey(file string) (*ecdsa.PrivateKey, error) {
	body, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("sign: key: %w", err)
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return nil, fmt.Errorf("sign: %s is no PEM file", file)
	}
	var parsed any
	if parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes); err != nil {
		parsed, err = x509.ParseECPrivateKey(block.Bytes)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("sign: %s holds no unencrypted ECDSA P-256 key: make one with 'release key'", file)
	}
	return key, nil
}

// PublicKey is the key to verify with, as PEM.
func (s *Signer) PublicKey() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// Blob returns the signature of a text: base64, of the form that "cosign verify-blob" takes.
// The same key and text give the same signature.
func (s *Signer) Blob(text []byte) (string, error) {
	sum := sha256.Sum256(text)
	raw, err := s.key.Sign(nil, sum[:], crypto.SHA256) // nil: by RFC 6979
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

// Layout adds signatures of target to the OCI image layout in the folder.
func (s *Signer) Layout(ctx context.Context, dir string, target ocispec.Descriptor) error {
	if err := s.cosign(ctx, dir, target); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	if len(s.chain) == 0 {
		return nil
	}
	if err := s.notation(ctx, dir, target); err != nil {
		return fmt.Errorf("sign: notation: %w", err)
	}
	return nil
}

// cosign stores a signature of the digest under the tag that cosign looks for.
func (s *Signer) cosign(ctx context.Context, dir string, target ocispec.Descriptor) error {
	var payload struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
		Optional map[string]string `json:"optional"`
	}
	payload.Critical.Image.Digest = target.Digest.String()
	payload.Critical.Type = "cosign container image signature"
	text, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	signature, err := s.Blob(text)
	if err != nil {
		return err
	}
	layer := content.NewDescriptorFromBytes("application/vnd.dev.cosign.simplesigning.v1+json", text)
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": signature}
	config, err := json.Marshal(map[string]any{
		"architecture": "", "os": "", "config": struct{}{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layer.Digest.String()}},
	})
	if err != nil {
		return err
	}
	configDesc := content.NewDescriptorFromBytes(ocispec.MediaTypeImageConfig, config)
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configDesc, Layers: []ocispec.Descriptor{layer},
	})
	if err != nil {
		return err
	}
	top := content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest)
	store, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		desc ocispec.Descriptor
		body []byte
	}{{layer, text}, {configDesc, config}, {top, manifest}} {
		if err := store.Push(ctx, part.desc, bytes.NewReader(part.body)); err != nil {
			return err
		}
	}
	return store.Tag(ctx, top, strings.Replace(target.Digest.String(), ":", "-", 1)+".sig")
}

// notation adds a signature that refers to the target.
func (s *Signer) notation(ctx context.Context, dir string, target ocispec.Descriptor) error {
	repo, err := registry.NewOCIRepository(dir, registry.RepositoryOptions{})
	if err != nil {
		return err
	}
	generic, err := signer.NewGenericSigner(s.key, s.chain)
	if err != nil {
		return err
	}
	_, err = notation.Sign(ctx, generic, repo, notation.SignOptions{
		SignerSignOptions: notation.SignerSignOptions{SignatureMediaType: cose.MediaTypeEnvelope, SigningAgent: "edgekit"},
		ArtifactReference: target.Digest.String(),
	})
	return err
}

// WriteKey makes a key and a certificate of its own that lasts ten years. It writes to the folder
// key.pem, cert.pem and the folder trust, which is a trust folder of nodes (/etc/edgekit/trust) as a
// whole: NAME.pub, trustpolicy.json and x509/ca/NAME/cert.pem. It overwrites nothing.
func WriteKey(dir, name string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	cert, err := selfSigned(key, name, now)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	public, err := (&Signer{key: key}).PublicKey()
	if err != nil {
		return err
	}
	policy, err := json.MarshalIndent(map[string]any{"version": "1.0", "trustPolicies": []any{map[string]any{
		"name": name, "registryScopes": []string{"*"}, "signatureVerification": map[string]any{"level": "strict"},
		"trustStores": []string{"ca:" + name}, "trustedIdentities": []string{"*"},
	}}}, "", "  ")
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	var errs []error
	for _, f := range []struct {
		name string
		mode os.FileMode
		body []byte
	}{
		{"key.pem", 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})},
		{"cert.pem", 0o644, certificate},
		{"trust/" + name + ".pub", 0o644, public},
		{"trust/trustpolicy.json", 0o644, append(policy, '\n')},
		{"trust/x509/ca/" + name + "/cert.pem", 0o644, certificate},
	} {
		errs = append(errs, create(filepath.Join(dir, f.name), f.mode, f.body))
	}
	return errors.Join(errs...)
}

// selfSigned makes a certificate of the key that Notation accepts for signatures.
func selfSigned(key *ecdsa.PrivateKey, name string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{name}, Country: []string{"XX"}, Province: []string{"none"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return cert, nil
}

func create(path string, mode os.FileMode, body []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Close())
}
