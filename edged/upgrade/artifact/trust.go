package artifact

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// trust is what a request admits of the trust folder.
type trust struct {
	dir    string
	policy *policy // nil: none
	keys   []namedKey
}

type namedKey struct {
	name string
	key  *ecdsa.PublicKey
}

// signer says who signed what.
type signer struct{ name, digest string }

const maxKeyFile = 16 << 10

// readTrust reads the trust folder.
func readTrust(dir string, req upgrade.Request) (*trust, error) {
	t := &trust{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, refuse("trust", "%v", err)
	}
	restricted := len(req.Keys) > 0 || req.TrustPolicy != ""
	for _, e := range entries {
		name, isKey := strings.CutSuffix(e.Name(), ".pub")
		if !isKey || restricted && !slices.Contains(req.Keys, name) {
			continue
		}
		key, err := readKey(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, refuse("trust", "%s: %v", e.Name(), err)
		}
		t.keys = append(t.keys, namedKey{name, key})
	}
	for _, name := range req.Keys {
		if !slices.ContainsFunc(t.keys, func(k namedKey) bool { return k.name == name }) {
			return nil, refuse("trust", "the key %.80q was asked for, and %s has no such .pub", name, dir)
		}
	}
	if !restricted || req.TrustPolicy != "" {
		if t.policy, err = readPolicy(dir, req.TrustPolicy); err != nil {
			return nil, err
		}
	}
	if t.policy == nil && len(t.keys) == 0 {
		return nil, refuse("trust", "%s has neither a trustpolicy.json nor a key NAME.pub, so nothing can be verified: put there what signs your releases", dir)
	}
	return t, nil
}

// readKey reads an ECDSA P-256 public key.
func readKey(name string) (*ecdsa.PublicKey, error) {
	text, err := readSmall(name, maxKeyFile)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("it is no PEM public key")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no ECDSA key on P-256")
	}
	return key, nil
}

// readSmall reads a file of at most limit bytes.
func readSmall(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > limit {
		return nil, fmt.Errorf("%s: want a regular file of at most %d bytes", name, limit)
	}
	return os.ReadFile(name)
}

// verify finds a signature of one of the candidates that the node trusts.
func (t *trust) verify(ctx context.Context, source source, candidates []ocispec.Descriptor, now time.Time) (signer, error) {
	var failures []error
	for _, d := range candidates {
		by, why, err := t.verifyOne(ctx, source, d, now)
		if err != nil {
			return signer{}, err
		}
		if by != "" {
			return signer{by, string(d.Digest)}, nil
		}
		failures = append(failures, why...)
	}
	if len(failures) == 0 {
		return signer{}, refuse("signature", "there is none: sign %s by notation or cosign with a key that %s trusts", candidates[0].Digest, t.dir)
	}
	return signer{}, refuse("signature", "none is trusted: %v", errors.Join(failures[:min(len(failures), 4)]...))
}

// verifyOne returns who signed d, or why signatures are not trusted. Its error is one of the
// source, which may pass.
func (t *trust) verifyOne(ctx context.Context, source source, d ocispec.Descriptor, now time.Time) (by string, why []error, err error) {
	if len(t.keys) > 0 {
		by, failures, err := t.verifyKeys(ctx, source, d)
		if err != nil || by != "" {
			return by, nil, err
		}
		why = append(why, failures...)
	}
	if t.policy == nil {
		return "", why, nil
	}
	found, err := source.signatures(ctx, d)
	if err != nil {
		return "", nil, err
	}
	for _, manifest := range found[:min(len(found), maxEntries)] {
		envelope, mediaType, err := envelopeOf(ctx, source, manifest)
		if err == nil {
			by, err = t.policy.verify(ctx, source.scope(), d, envelope, mediaType, now)
		}
		switch {
		case err == nil:
			return by, nil, nil
		case mayPass(err) || ctx.Err() != nil:
			return "", nil, err
		}
		why = append(why, err)
	}
	return "", why, nil
}

// tagOf is the tag of the referrers' schema for a manifest.
func tagOf(d ocispec.Descriptor) string { return strings.Replace(string(d.Digest), ":", "-", 1) }

// Names of cosign's signatures.
const (
	simpleSigningType   = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureAnnotation = "dev.cosignproject.cosign/signature"
)

// verifyKeys looks for a signature by a key pair.
func (t *trust) verifyKeys(ctx context.Context, source source, d ocispec.Descriptor) (by string, why []error, err error) {
	at, ok, err := source.tagged(ctx, tagOf(d)+".sig")
	if err != nil || !ok {
		return "", nil, err
	}
	text, err := source.fetch(ctx, at, maxManifest)
	if err != nil {
		return "", []error{err}, passing(err)
	}
	var m ocispec.Manifest
	if err := jsonlimit.Unmarshal(text, &m); err != nil {
		return "", []error{err}, nil
	}
	for _, layer := range m.Layers[:min(len(m.Layers), maxEntries)] {
		signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
		if layer.MediaType != simpleSigningType || err != nil || len(signature) == 0 || len(signature) > 256 {
			continue
		}
		payload, err := source.fetch(ctx, layer, maxSignature)
		if err != nil {
			if passing(err) != nil {
				return "", nil, err
			}
			why = append(why, err)
			continue
		}
		by, err := t.verifyPayload(payload, signature, d)
		if err == nil {
			return by, nil, nil
		}
		why = append(why, err)
	}
	return "", why, nil
}

// passing is err if it may pass.
func passing(err error) error {
	if mayPass(err) {
		return err
	}
	return nil
}

// simpleSigning is the payload of a signature.
type simpleSigning struct {
	Critical struct {
		Image struct {
			Digest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
}

// verifyPayload returns the key that signed the payload, which must name the artefact.
func (t *trust) verifyPayload(payload, signature []byte, d ocispec.Descriptor) (string, error) {
	sum := sha256.Sum256(payload)
	i := slices.IndexFunc(t.keys, func(k namedKey) bool { return ecdsa.VerifyASN1(k.key, sum[:], signature) })
	if i < 0 {
		return "", fmt.Errorf("no key of %s has made the signature", t.dir)
	}
	var s simpleSigning
	if err := jsonlimit.Unmarshal(payload, &s); err != nil {
		return "", err
	}
	if s.Critical.Type != "cosign container image signature" || s.Critical.Image.Digest != string(d.Digest) {
		return "", fmt.Errorf("the signature of key %s is for %.80q and not for %s", t.keys[i].name, s.Critical.Image.Digest, d.Digest)
	}
	return "key " + t.keys[i].name, nil
}

// isCertificateError reports whether a connection failed for a certificate of the server, which
// only an operator can mend.
func isCertificateError(err error) bool {
	_, verification := errors.AsType[*tls.CertificateVerificationError](err)
	return verification
}

// compareDigest refuses a blob with another digest.
func compareDigest(text []byte, d ocispec.Descriptor) error {
	sum := sha256.Sum256(text)
	if want, err := hex.DecodeString(strings.TrimPrefix(string(d.Digest), "sha256:")); err != nil || !bytes.Equal(want, sum[:]) {
		return refuse("blob", "its digest is not %.80s: it is damaged or was replaced", string(d.Digest))
	}
	return nil
}
