package artifact

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/notaryproject/notation-go"
	"github.com/notaryproject/notation-go/dir"
	"github.com/notaryproject/notation-go/verifier"
	"github.com/notaryproject/notation-go/verifier/trustpolicy"
	"github.com/notaryproject/notation-go/verifier/truststore"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// policy is notation's trust policy of this node.
type policy struct {
	document trustpolicy.Document
	dir      string
}

// readPolicy reads trustpolicy.json; nil if there is none. A name keeps only that statement.
func readPolicy(folder, name string) (*policy, error) {
	text, err := readSmall(filepath.Join(folder, "trustpolicy.json"), maxIndex)
	switch {
	case errors.Is(err, fs.ErrNotExist) && name == "":
		return nil, nil
	case err != nil:
		return nil, refuse("trust", "%v", err)
	}
	p := &policy{dir: folder}
	if err := jsonlimit.Unmarshal(text, &p.document); err != nil {
		return nil, refuse("trust", "trustpolicy.json: %v", err)
	}
	if err := p.document.Validate(); err != nil {
		return nil, refuse("trust", "trustpolicy.json: %v", err)
	}
	if name != "" {
		all := p.document.TrustPolicies
		p.document.TrustPolicies = slices.DeleteFunc(slices.Clone(all), func(s trustpolicy.TrustPolicy) bool { return s.Name != name })
		if len(p.document.TrustPolicies) == 0 {
			return nil, refuse("trust", "trustpolicy.json has no statement %.80q", name)
		}
	}
	return p, nil
}

// trustFolder gives notation its trust store: x509/ as well as truststore/x509/.
type trustFolder struct {
	fs.FS
	dir string
}

var _ dir.SysFS = trustFolder{}

// SysPath implements dir.SysFS.
func (t trustFolder) SysPath(items ...string) (string, error) {
	name := filepath.Join(append([]string{t.dir}, items...)...)
	short := filepath.Join(t.dir, strings.TrimPrefix(filepath.Join(items...), "truststore"+string(filepath.Separator)))
	if _, err := os.Lstat(name); err != nil {
		return short, nil
	}
	return name, nil
}

// envelopeOf returns the signature that a manifest of notation holds, and its media type.
func envelopeOf(ctx context.Context, source source, d ocispec.Descriptor) ([]byte, string, error) {
	text, err := source.fetch(ctx, d, maxManifest)
	if err != nil {
		return nil, "", err
	}
	var m ocispec.Manifest
	if err := jsonlimit.Unmarshal(text, &m); err != nil {
		return nil, "", err
	}
	if m.ArtifactType != signatureType && m.Config.MediaType != signatureType || len(m.Layers) != 1 {
		return nil, "", fmt.Errorf("%s is no signature of notation", d.Digest)
	}
	envelope, err := source.fetch(ctx, m.Layers[0], maxSignature)
	return envelope, m.Layers[0].MediaType, err
}

// jsonEnvelope is the form of a signature in JSON (JWS), as far as it takes memory.
type jsonEnvelope struct {
	Payload   string `json:"payload"`
	Protected string `json:"protected"`
	Signature string `json:"signature"`
	Header    struct {
		Chain [][]byte `json:"x5c"`
	} `json:"header"`
}

// maxChain is how many certificates a signature may bring.
const maxChain = 16

// checkEnvelope refuses a signature that costs much memory, before notation reads it.
func checkEnvelope(envelope []byte, mediaType string) error {
	if mediaType != "application/jose+json" {
		return nil
	}
	var e jsonEnvelope
	if err := jsonlimit.Unmarshal(envelope, &e); err != nil {
		return err
	}
	if len(e.Header.Chain) > maxChain {
		return fmt.Errorf("the signature has %d certificates, at most %d are read", len(e.Header.Chain), maxChain)
	}
	return nil
}

// verify verifies one signature of d and returns who made it. notation judges all but the times,
// for which it would ask the system's clock: those are judged here.
func (p *policy) verify(ctx context.Context, scope string, d ocispec.Descriptor, envelope []byte, mediaType string, now time.Time) (string, error) {
	if err := checkEnvelope(envelope, mediaType); err != nil {
		return "", err
	}
	reference := scope + "@" + string(d.Digest)
	statement, err := p.document.GetApplicableTrustPolicy(reference)
	if err != nil {
		return "", err
	}
	level, err := statement.SignatureVerification.GetVerificationLevel()
	if err != nil {
		return "", err
	}
	if level.Enforcement[trustpolicy.TypeAuthenticity] != trustpolicy.ActionEnforce {
		return "", fmt.Errorf("the statement %q of trustpolicy.json does not enforce authenticity: use level strict or permissive", statement.Name)
	}
	outcome, err := p.run(ctx, timeless(*statement), reference, d, envelope, mediaType)
	if err != nil {
		return "", err
	}
	signer := outcome.EnvelopeContent.SignerInfo
	if expiry := signer.SignedAttributes.Expiry; !expiry.IsZero() && !now.Before(expiry) && level.Enforcement[trustpolicy.TypeExpiry] == trustpolicy.ActionEnforce {
		return "", fmt.Errorf("the signature has expired on %s", expiry.UTC().Format(time.RFC3339))
	}
	if level.Enforcement[trustpolicy.TypeAuthenticTimestamp] == trustpolicy.ActionEnforce {
		if err := p.judgeTimes(ctx, *statement, outcome, reference, d, envelope, mediaType, now); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("certificate %s (statement %s)", signer.CertificateChain[0].Subject, statement.Name), nil
}

// timeless is a statement that judges no times: neither by the clock nor by time stamps.
func timeless(s trustpolicy.TrustPolicy) trustpolicy.TrustPolicy {
	override := maps.Clone(s.SignatureVerification.Override)
	if override == nil {
		override = make(map[trustpolicy.ValidationType]trustpolicy.ValidationAction)
	}
	override[trustpolicy.TypeExpiry], override[trustpolicy.TypeAuthenticTimestamp] = trustpolicy.ActionLog, trustpolicy.ActionLog
	s.SignatureVerification.Override = override
	s.TrustStores = slices.DeleteFunc(slices.Clone(s.TrustStores), func(store string) bool { return strings.HasPrefix(store, "tsa:") })
	return s
}

// judgeTimes checks that the certificates were valid when the signature was made, or are now.
func (p *policy) judgeTimes(ctx context.Context, s trustpolicy.TrustPolicy, o *notation.VerificationOutcome, reference string, d ocispec.Descriptor, envelope []byte, mediaType string, now time.Time) error {
	info := o.EnvelopeContent.SignerInfo
	at := now
	stamped := slices.ContainsFunc(s.TrustStores, func(store string) bool { return strings.HasPrefix(store, "tsa:") })
	if info.SignedAttributes.SigningScheme == "notary.x509.signingAuthority" {
		at, stamped = info.SignedAttributes.SigningTime, false
	}
	var wrong error
	for _, c := range info.CertificateChain {
		if at.Before(c.NotBefore) || at.After(c.NotAfter) {
			wrong = fmt.Errorf("the certificate %s is valid from %s to %s, and it is %s: check this machine's clock, or sign anew",
				c.Subject, c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339), at.UTC().Format(time.RFC3339))
		}
	}
	if !stamped || wrong == nil && s.SignatureVerification.VerifyTimestamp == trustpolicy.OptionAfterCertExpiry {
		return wrong
	}
	s.SignatureVerification.VerifyTimestamp = trustpolicy.OptionAlways // by the time stamp, not by a clock
	s.SignatureVerification.Override = maps.Clone(timeless(s).SignatureVerification.Override)
	s.SignatureVerification.Override[trustpolicy.TypeAuthenticTimestamp] = trustpolicy.ActionEnforce
	_, err := p.run(ctx, s, reference, d, envelope, mediaType)
	return err
}

// run verifies by one statement. It starts no plug-in.
func (p *policy) run(ctx context.Context, s trustpolicy.TrustPolicy, reference string, d ocispec.Descriptor, envelope []byte, mediaType string) (*notation.VerificationOutcome, error) {
	document := &trustpolicy.Document{Version: p.document.Version, TrustPolicies: []trustpolicy.TrustPolicy{s}}
	store := truststore.NewX509TrustStore(trustFolder{os.DirFS(p.dir), p.dir})
	v, err := verifier.NewWithOptions(document, store, nil, verifier.VerifierOptions{})
	if err != nil {
		return nil, err
	}
	subject := ocispec.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
	outcome, err := v.Verify(ctx, subject, envelope, notation.VerifierVerifyOptions{ArtifactReference: reference, SignatureMediaType: mediaType})
	if err != nil {
		return nil, err
	}
	if outcome.EnvelopeContent == nil || len(outcome.EnvelopeContent.SignerInfo.CertificateChain) == 0 {
		return nil, errors.New("the signature has no certificate")
	}
	return outcome, nil
}
