package artifacttest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/notaryproject/notation-core-go/signature"
	"github.com/notaryproject/notation-core-go/signature/jws"
	ocispecs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// NewKey makes a key pair.
func NewKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// SignKey signs the root as cosign does with a key pair.
func (a *Artifact) SignKey(t testing.TB, key *ecdsa.PrivateKey) { a.SignKeyFor(t, key, a.Root) }

// SignKeyFor signs a manifest or index.
func (a *Artifact) SignKeyFor(t testing.TB, key *ecdsa.PrivateKey, d ocispec.Descriptor) {
	t.Helper()
	payload := []byte(`{"critical":{"identity":{"docker-reference":"registry.example/node"},"image":{"docker-manifest-digest":"` + string(d.Digest) + `"},"type":"cosign container image signature"},"optional":null}`)
	a.SignPayload(t, key, d, payload)
}

// SignPayload signs any payload and tags it as the signature of d.
func (a *Artifact) SignPayload(t testing.TB, key *ecdsa.PrivateKey, d ocispec.Descriptor, payload []byte) {
	t.Helper()
	sum := sha256.Sum256(payload)
	signed, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	layer := a.Add("application/vnd.dev.cosign.simplesigning.v1+json", payload)
	layer.Annotations = map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(signed)}
	m := a.Add(ocispec.MediaTypeImageManifest, Marshal(ocispec.Manifest{
		Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: a.Add("application/vnd.oci.image.config.v1+json", []byte("{}")), Layers: []ocispec.Descriptor{layer},
	}))
	m.Annotations = map[string]string{ocispec.AnnotationRefName: strings.Replace(string(d.Digest), ":", "-", 1) + ".sig"}
	a.Index = append(a.Index, m)
}

// Trust makes a trust folder with public keys.
func Trust(t testing.TB, keys map[string]*ecdsa.PublicKey) string {
	t.Helper()
	dir := t.TempDir()
	for name, key := range keys {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name+".pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	return dir
}

// Signer signs as notation does.
type Signer struct {
	Key  *ecdsa.PrivateKey
	Cert *x509.Certificate
	Root *x509.Certificate
}

// NewSigner makes a root and a certificate for signing below it, valid for a year from a time on.
func NewSigner(t testing.TB, from time.Time) *Signer {
	t.Helper()
	rootKey, key := NewKey(t), NewKey(t)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "edgekit test root", Organization: []string{"edgekit"}, Country: []string{"DE"}, Province: []string{"BY"}},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "release", Organization: []string{"edgekit"}, Country: []string{"DE"}, Province: []string{"BY"}},
		NotBefore: from, NotAfter: from.AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	s := &Signer{Key: key}
	s.Root = issue(t, root, root, rootKey, rootKey)
	s.Cert = issue(t, leaf, s.Root, key, rootKey)
	return s
}

func issue(t testing.TB, template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// Trust adds a trust policy of a level and the root to a trust folder.
func (s *Signer) Trust(t testing.TB, dir, level string) {
	t.Helper()
	write(t, filepath.Join(dir, "trustpolicy.json"), []byte(`{"version":"1.0","trustPolicies":[{"name":"releases","registryScopes":["*"],"signatureVerification":{"level":"`+level+`"},"trustStores":["ca:edgekit"],"trustedIdentities":["x509.subject: C=DE, ST=BY, O=edgekit, CN=release"]}]}`))
	folder := filepath.Join(dir, "x509", "ca", "edgekit")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "root.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Root.Raw}))
}

// SignNotation signs the root as notation does, at a time; a zero expiry is none.
func (a *Artifact) SignNotation(t testing.TB, s *Signer, at, expiry time.Time) {
	t.Helper()
	local, err := signature.NewLocalSigner([]*x509.Certificate{s.Cert, s.Root}, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := signature.NewEnvelope(jws.MediaTypeEnvelope)
	if err != nil {
		t.Fatal(err)
	}
	target := ocispec.Descriptor{MediaType: a.Root.MediaType, Digest: a.Root.Digest, Size: a.Root.Size}
	signed, err := envelope.Sign(&signature.SignRequest{
		Payload: signature.Payload{ContentType: "application/vnd.cncf.notary.payload.v1+json", Content: Marshal(map[string]any{"targetArtifact": target})},
		Signer:  local, SigningTime: at, Expiry: expiry, SigningScheme: signature.SigningSchemeX509, SigningAgent: "edgekit-test",
	})
	if err != nil {
		t.Fatal(err)
	}
	m := a.Add(ocispec.MediaTypeImageManifest, Marshal(ocispec.Manifest{
		Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: "application/vnd.cncf.notary.signature",
		Config: a.Add("application/vnd.oci.empty.v1+json", []byte("{}")), Layers: []ocispec.Descriptor{a.Add(jws.MediaTypeEnvelope, signed)}, Subject: &target,
	}))
	m.ArtifactType = "application/vnd.cncf.notary.signature"
	a.Index = append(a.Index, m)
}

func write(t testing.TB, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
