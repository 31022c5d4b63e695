package volume_test

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

type bundles struct {
	byName   map[string]string
	bySigner []string
	bundle   []byte
	again    time.Time
	err      error
}

func (b *bundles) TrustBundle(_ context.Context, name string) (string, error) {
	if text, ok := b.byName[name]; ok {
		return text, nil
	}
	return "", missing{}
}

func (b *bundles) TrustBundles(context.Context, string, *metav1.LabelSelector) ([]string, error) {
	return b.bySigner, nil
}

func (b *bundles) PodCertificate(context.Context, *corev1.Pod, string, int) ([]byte, time.Time, error) {
	return b.bundle, b.again, b.err
}

func block(kind, text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}))
}

// projecting sets a pod up with one projected source and gives its folder.
func projecting(t *testing.T, b *bundles, from corev1.VolumeProjection) (string, volume.Prepared, error) {
	t.Helper()
	var events []string
	m, err := volume.New(volume.Config{
		Root: t.TempDir(), Source: &source{}, TrustBundles: b, PodCertificates: b,
		Event: func(_ *corev1.Pod, reason, message string) { events = append(events, reason+": "+message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{from}}}}}}}
	pod.Namespace, pod.Name, pod.UID = "a", "x", "u"
	prepared, err := m.SetUp(t.Context(), pod, nil)
	t.Cleanup(func() { _ = m.TearDown(string(pod.UID)) })
	if b.err != nil && len(b.bundle) > 0 && (len(events) != 1 || !strings.HasPrefix(events[0], "CertificateNotRenewed: ")) {
		t.Errorf("events %q", events)
	}
	dir, _ := m.Path(pod, "v")
	return dir, prepared, err
}

func TestTrustBundleProjection(t *testing.T) {
	name, signer, yes := "one", "acme.io/ca", true
	b := &bundles{byName: map[string]string{"one": "junk\n" + block("CERTIFICATE", "A") + "more\n" + block("CERTIFICATE", "B") + block("CERTIFICATE", "A")}}
	b.bySigner = []string{block("CERTIFICATE", "C"), block("CERTIFICATE", "C") + block("CERTIFICATE", "D")}
	read := func(p *corev1.ClusterTrustBundleProjection) (string, error) {
		t.Helper()
		p.Path = "ca.pem"
		dir, _, err := projecting(t, b, corev1.VolumeProjection{ClusterTrustBundle: p})
		if err != nil {
			return "", err
		}
		text, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		return string(text), err
	}
	sorted := func(text string) string {
		var all []string
		for rest := []byte(text); ; {
			var p *pem.Block
			if p, rest = pem.Decode(rest); p == nil {
				slices.Sort(all)
				return strings.Join(all, " ")
			}
			all = append(all, string(p.Bytes))
		}
	}
	first, err := read(&corev1.ClusterTrustBundleProjection{Name: &name})
	if err != nil || sorted(first) != "A B" || strings.Contains(first, "junk") {
		t.Errorf("by name: %q, %v", first, err)
	}
	if again, err := read(&corev1.ClusterTrustBundleProjection{Name: &name}); err != nil || again != first {
		t.Errorf("the order changes: %q, %v", again, err)
	}
	if text, err := read(&corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{}}); err != nil || sorted(text) != "C D" {
		t.Errorf("by signer: %q, %v", text, err)
	}
	b.byName, b.bySigner = nil, nil
	if _, err := read(&corev1.ClusterTrustBundleProjection{Name: &name}); err == nil || !strings.Contains(err.Error(), `clustertrustbundle "one" not found`) {
		t.Errorf("missing: %v", err)
	}
	if _, err := read(&corev1.ClusterTrustBundleProjection{SignerName: &signer}); err == nil || !strings.Contains(err.Error(), "matched zero") {
		t.Errorf("no match: %v", err)
	}
	if _, err := read(&corev1.ClusterTrustBundleProjection{}); err == nil || !strings.Contains(err.Error(), "either name or signerName") {
		t.Errorf("neither: %v", err)
	}
	for _, p := range []*corev1.ClusterTrustBundleProjection{{Name: &name, Optional: &yes}, {SignerName: &signer, Optional: &yes}} {
		if text, err := read(p); err != nil || text != "" {
			t.Errorf("optional: %q, %v", text, err)
		}
	}
}

func TestPodCertificateProjection(t *testing.T) {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(end time.Time) string {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
		der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		return block("CERTIFICATE", string(der))
	}
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	b := &bundles{again: time.Now().Add(time.Minute)}
	from := corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{CredentialBundlePath: "all.pem", KeyPath: "key.pem", CertificateChainPath: "sub/chain.pem"}}
	b.err = errors.New("not issued yet")
	if _, _, err := projecting(t, b, from); err == nil || !strings.Contains(err.Error(), "not issued yet") {
		t.Errorf("pending: %v", err)
	}
	pemKey, chain := block("PRIVATE KEY", "secret"), certificate(end)
	for _, refused := range []error{nil, errors.New("denied")} {
		b.bundle, b.err = []byte(pemKey+chain+chain), refused
		dir, prepared, err := projecting(t, b, from)
		if err != nil || !prepared.Refresh.Equal(b.again) || !prepared.Expired.IsZero() {
			t.Fatalf("%+v, %v", prepared, err)
		}
		for path, want := range map[string]string{"all.pem": pemKey + chain + chain, "key.pem": pemKey, "sub/chain.pem": chain + chain} {
			if text, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(text) != want {
				t.Errorf("%s: %q, %v", path, text, err)
			}
		}
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	b.bundle, b.err = []byte(pemKey+certificate(past)), nil
	if _, prepared, err := projecting(t, b, from); err != nil || !prepared.Expired.Equal(past) {
		t.Errorf("expired: %+v, %v", prepared, err)
	}
	b.bundle = []byte(pemKey)
	if _, _, err := projecting(t, b, from); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

// TestNoAPIServer refuses what needs one.
func TestNoAPIServer(t *testing.T) {
	for _, p := range []corev1.VolumeProjection{{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Path: "a"}}, {PodCertificate: &corev1.PodCertificateProjection{KeyPath: "a"}}} {
		m, err := volume.New(volume.Config{Root: t.TempDir(), Source: &source{}})
		if err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}}}}}}
		pod.UID = "u"
		if _, err := m.SetUp(t.Context(), pod, nil); err == nil || !strings.Contains(err.Error(), "no API server") {
			t.Errorf("%v", err)
		}
	}
}
