package volume

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrustBundleReader reads ClusterTrustBundles (KEP-3257).
type TrustBundleReader interface {
	// TrustBundle gives the PEM text of a bundle. The error for one that is not there
	// matches interface{ NotFound() bool }.
	TrustBundle(ctx context.Context, name string) (string, error)
	// TrustBundles gives the PEM texts of the bundles of a signer that the selector
	// matches, none if there is none. A nil selector matches none.
	TrustBundles(ctx context.Context, signer string, selector *metav1.LabelSelector) ([]string, error)
}

// PodCertificates makes keys and gets certificates for pods (KEP-4317).
type PodCertificates interface {
	// PodCertificate gives the key and the certificate chain, in PEM and in this order, of
	// a source with podCertificate of a volume of a pod, and when to ask again. While they
	// cannot be renewed the last ones stay in use. An error without a bundle says that there
	// is none, yet or for good; one with a bundle that it is not renewed for good.
	PodCertificate(ctx context.Context, pod *corev1.Pod, volume string, source int) (bundle []byte, again time.Time, err error)
}

// trustBundle puts trust anchors into a file: those of all bundles, each once.
func (s *setup) trustBundle(ctx context.Context, files map[string]file, p *corev1.ClusterTrustBundleProjection, mode *int32) error {
	r := s.m.cfg.TrustBundles
	if r == nil {
		return errors.New("this node has no ClusterTrustBundles: it has no API server")
	}
	optional := p.Optional != nil && *p.Optional
	var texts []string
	var err error
	switch {
	case p.Name != nil:
		var text string
		text, err = r.TrustBundle(ctx, *p.Name)
		if missing(err) {
			if !optional {
				return fmt.Errorf("clustertrustbundle %q not found", *p.Name)
			}
			err = nil
		}
		texts = []string{text}
	case p.SignerName != nil:
		texts, err = r.TrustBundles(ctx, *p.SignerName, p.LabelSelector)
		if err == nil && len(texts) == 0 && !optional {
			err = errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
		}
	default:
		err = errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	if err != nil {
		return err
	}
	files[p.Path] = s.owned(file{data: anchors(string(s.pod.UID), texts), mode: modeOr(nil, mode)})
	return nil
}

// anchors gives the certificates in PEM texts once each, without anything between them.
// Their order is that of a hash: nobody can count on one, and it stays the same for a
// pod.
func anchors(seed string, texts []string) []byte {
	var all []string // the hash that gives a certificate its place, and the certificate
	for _, text := range texts {
		for rest := []byte(text); ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			place := sha256.Sum256(append([]byte(seed), b.Bytes...))
			all = append(all, string(place[:])+string(b.Bytes))
		}
	}
	slices.Sort(all)
	var out bytes.Buffer
	for _, a := range slices.Compact(all) {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: []byte(a[sha256.Size:])}))
	}
	return out.Bytes()
}

const certificateBlock = "CERTIFICATE"

// podCertificate puts a key and its certificates into files. index is that of the source
// in the volume.
func (s *setup) podCertificate(ctx context.Context, files map[string]file, volume string, index int, p *corev1.PodCertificateProjection, mode *int32) error {
	source := s.m.cfg.PodCertificates
	if source == nil {
		return errors.New("this node gets no certificates for pods: it has no API server")
	}
	bundle, again, err := source.PodCertificate(ctx, s.pod, volume, index)
	if err != nil && len(bundle) == 0 {
		return err
	}
	if err != nil && s.m.cfg.Event != nil {
		s.m.cfg.Event(s.pod, "CertificateNotRenewed", err.Error())
	}
	_, chain := pem.Decode(bundle)
	leaf, _ := pem.Decode(chain)
	if leaf == nil {
		return errors.New("podCertificate: the answer has no certificate")
	}
	s.refreshBy(again)
	if cert, err := x509.ParseCertificate(leaf.Bytes); err == nil && !time.Now().Before(cert.NotAfter) {
		s.expiredAt(cert.NotAfter)
	}
	for path, data := range map[string][]byte{p.CredentialBundlePath: bundle, p.KeyPath: bundle[:len(bundle)-len(chain)], p.CertificateChainPath: chain} {
		if path != "" {
			files[path] = s.owned(file{data: data, mode: modeOr(nil, mode)})
		}
	}
	return nil
}

// owned gives a file with credentials to the one user of the pod's containers, if there is
// one, and then only to that user and the volume's group.
func (s *setup) owned(f file) file {
	f.user = soleUser(s.pod)
	if f.user != nil || s.group() != nil {
		f.mode = 0o600
	}
	return f
}

// expiredAt notes that a credential in use has expired.
func (s *setup) expiredAt(end time.Time) {
	if p := &s.prepared; p.Expired.IsZero() || end.Before(p.Expired) {
		p.Expired = end
	}
}
