package kube_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
)

// signer is the cloud's part for one kind of pod certificates, with a clock of its own.
type signer struct {
	t       *testing.T
	ahead   time.Duration // of its clock before the node's
	err     error         // instead of any answer
	outcome string        // the condition that each request gets; "" leaves it pending
	made    map[string]*certificatesv1.PodCertificateRequest
}

func (s *signer) answer(q meta.Object) (meta.Object, error) {
	if q.Key.Resource != "podcertificaterequests" {
		return meta.Object{}, errOffline
	}
	if s.err != nil {
		return meta.Object{}, s.err
	}
	var req certificatesv1.PodCertificateRequest
	must(s.t, json.Unmarshal(q.Body, &req))
	if req.Name == "" {
		req.Namespace, req.Name = q.Key.Namespace, fmt.Sprintf("req-%d", len(s.made)+1)
		req.CreationTimestamp = metav1.NewTime(time.Now().Add(s.ahead))
		s.made[req.Name] = &req
	}
	known := s.made[req.Name]
	if known == nil {
		return meta.Object{}, meta.ErrNotFound
	}
	switch s.outcome {
	case "":
	case "Issued":
		s.issue(known)
		fallthrough
	default:
		known.Status.Conditions = []metav1.Condition{{Type: s.outcome, Status: metav1.ConditionTrue, Reason: "Because", Message: "of that"}}
	}
	answer := known.DeepCopy()
	answer.Spec.StubPKCS10Request = nil
	body, err := json.Marshal(answer)
	return meta.Object{Key: q.Key, Body: body}, err
}

// issue makes a certificate for a day, to be renewed after 16 hours.
func (s *signer) issue(req *certificatesv1.PodCertificateRequest) {
	proof, err := x509.ParseCertificateRequest(req.Spec.StubPKCS10Request)
	must(s.t, err)
	must(s.t, proof.CheckSignature())
	now := req.CreationTimestamp.Time
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(24 * time.Hour)}
	_, key, err := ed25519.GenerateKey(nil)
	must(s.t, err)
	der, err := x509.CreateCertificate(nil, template, template, proof.PublicKey, key)
	must(s.t, err)
	req.Status.CertificateChain = "junk\n" + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: der}))
	at := metav1.NewTime(now.Add(16 * time.Hour))
	req.Status.BeginRefreshAt = &at
}

func withCertificate(kind string) *corev1.Pod {
	p := pod("x", "1")
	p.UID = "uid-x"
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{}, {PodCertificate: &corev1.PodCertificateProjection{SignerName: "acme.io/pods", KeyType: kind, UserAnnotations: map[string]string{"acme.io/role": "r"}}},
	}}}}}
	return p
}

// TestPodCertificate takes a certificate through its life: pending, issued, due, renewed,
// over a restart, offline, refused.
func TestPodCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		cloud := &signer{t: t, made: make(map[string]*certificatesv1.PodCertificateRequest), ahead: -3 * 365 * 24 * time.Hour}
		s.m.answer = cloud.answer
		p := withCertificate("ECDSAP256")
		last, client := []byte(nil), s.Client
		want := func(when string, requests int, renewed bool, wantErr string) time.Time {
			t.Helper()
			bundle, again, err := client.PodCertificate(t.Context(), p, "v", 1)
			if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
				t.Fatalf("%s: %v, want %q", when, err, wantErr)
			}
			if len(cloud.made) != requests || bytes.Equal(bundle, last) == renewed {
				t.Fatalf("%s: %d requests, want %d; renewed %t, want %t", when, len(cloud.made), requests, !bytes.Equal(bundle, last), renewed)
			}
			if last = bundle; bundle == nil {
				return again
			}
			if _, err := tls.X509KeyPair(bundle, bundle); err != nil || !bytes.HasPrefix(bundle, []byte("-----BEGIN PRIVATE KEY")) || bytes.Contains(bundle, []byte("junk")) || bytes.Contains(bundle, []byte("a: b")) {
				t.Fatalf("%s: bundle %s, %v", when, bundle, err)
			}
			return again
		}
		want("pending", 1, false, "acme.io/pods has not issued it yet: see the PodCertificateRequest a/req-1")
		if got := cloud.made["req-1"].Spec; got.SignerName != "acme.io/pods" || got.PodUID != "uid-x" || got.UnverifiedUserAnnotations["acme.io/role"] != "r" {
			t.Errorf("request %+v", got)
		}
		want("still pending", 1, false, "not issued")
		delete(cloud.made, "req-1")
		cloud.outcome = "Issued"
		again := want("the request was deleted", 1, true, "")
		if life := time.Until(again); life < 16*time.Hour || life > 16*time.Hour+5*time.Minute {
			t.Errorf("asked again after %s", life)
		}
		restarted, err := kube.New(kube.Config{Store: s.store, Manager: s.m, Node: "gate-7"})
		must(t, err)
		client = restarted
		time.Sleep(15 * time.Hour)
		want("before it is due, after a restart", 1, false, "")
		cloud.err = errOffline
		time.Sleep(100 * time.Hour)
		if again := want("offline, long expired", 1, false, ""); time.Until(again) > time.Minute {
			t.Errorf("asked again after %s", time.Until(again))
		}
		cloud.err, cloud.outcome = nil, ""
		want("renewal is pending", 2, false, "")
		cloud.outcome = "Issued"
		want("renewed", 2, true, "")
		time.Sleep(17 * time.Hour)
		cloud.outcome = "Denied"
		want("not renewed", 3, false, `a/req-3 was denied: reason="Because" message="of that": mend`)
		want("not asked again at once", 3, false, "denied")
		cloud.outcome = "Issued"
		time.Sleep(time.Hour + time.Second)
		want("an hour later", 4, true, "")
	})
}

// TestPodCertificateFails is refused the first one.
func TestPodCertificateFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		cloud := &signer{t: t, made: make(map[string]*certificatesv1.PodCertificateRequest), outcome: "Failed"}
		s.m.answer = cloud.answer
		for range 2 {
			bundle, _, err := s.PodCertificate(t.Context(), withCertificate("ED25519"), "v", 1)
			if bundle != nil || err == nil || !strings.Contains(err.Error(), "req-1 failed") || len(cloud.made) != 1 {
				t.Errorf("%s, %v, %d requests", bundle, err, len(cloud.made))
			}
		}
		cloud.err = errOffline
		time.Sleep(2 * time.Hour)
		if bundle, _, err := s.PodCertificate(t.Context(), withCertificate("ED25519"), "v", 1); bundle != nil || !errors.Is(err, errOffline) {
			t.Errorf("offline: %s, %v", bundle, err)
		}
		for volume, source := range map[string]int{"v": 0, "w": 1} {
			if _, _, err := s.PodCertificate(t.Context(), withCertificate("ED25519"), volume, source); err == nil {
				t.Errorf("source %d of volume %s gives a certificate", source, volume)
			}
		}
		if _, _, err := s.PodCertificate(t.Context(), withCertificate("DSA"), "v", 7); err == nil {
			t.Error("a source that is not there gives a certificate")
		}
	})
}

// TestPodKeys makes a key of each type.
func TestPodKeys(t *testing.T) {
	for kind, is := range map[string]func(any) bool{
		"ECDSAP256": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 256 },
		"ECDSAP384": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 384 },
		"ECDSAP521": func(k any) bool { e, ok := k.(*ecdsa.PrivateKey); return ok && e.Curve.Params().BitSize == 521 },
		"ED25519":   func(k any) bool { _, ok := k.(ed25519.PrivateKey); return ok },
		"RSA3072":   func(k any) bool { r, ok := k.(*rsa.PrivateKey); return ok && r.Size() == 384 },
		"DSA":       nil,
	} {
		t.Run(kind, func(t *testing.T) {
			s := start(t)
			defer s.stop()
			cloud := &signer{t: t, made: make(map[string]*certificatesv1.PodCertificateRequest), outcome: "Issued"}
			s.m.answer = cloud.answer
			bundle, _, err := s.PodCertificate(t.Context(), withCertificate(kind), "v", 1)
			if is == nil {
				if err == nil || !strings.Contains(err.Error(), "use ECDSAP256") {
					t.Errorf("%v", err)
				}
				return
			}
			must(t, err)
			block, _ := pem.Decode(bundle)
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil || !is(key) {
				t.Errorf("%T, %v", key, err)
			}
		})
	}
}

// TestPodCertificateGoes removes a pod: its keys go with it.
func TestPodCertificateGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		cloud := &signer{t: t, made: make(map[string]*certificatesv1.PodCertificateRequest), outcome: "Issued"}
		s.m.answer = cloud.answer
		p := withCertificate("ED25519")
		s.put(t, "pods", "a", "x", p)
		synctest.Wait()
		if _, _, err := s.PodCertificate(t.Context(), p, "v", 1); err != nil {
			t.Fatal(err)
		}
		count := func() int {
			all, _, err := s.store.Keys(t.Context(), meta.Local+"podcertificates/")
			must(t, err)
			return len(all)
		}
		before := count()
		_, err := s.store.Apply(t.Context(), meta.Op{Key: meta.Down + meta.Key{Resource: "pods", Namespace: "a", Name: "x"}.Path(), Delete: true})
		must(t, err)
		synctest.Wait()
		if after := count(); before != 1 || after != 0 {
			t.Errorf("%d records before, %d after", before, after)
		}
	})
}

// TestTrustBundles reads bundles by name and by signer.
func TestTrustBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		for name, label := range map[string]string{"one": "live", "two": "canary"} {
			b := &certificatesv1.ClusterTrustBundle{Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: "acme.io/ca", TrustBundle: name}}
			b.Name, b.Labels = name, map[string]string{"is": label}
			s.put(t, "clustertrustbundles", "", name, b)
		}
		synctest.Wait()
		if text, err := s.TrustBundle(t.Context(), "one"); err != nil || text != "one" {
			t.Errorf("by name: %q, %v", text, err)
		}
		for _, tt := range []struct {
			signer   string
			selector *metav1.LabelSelector
			want     string
		}{
			{"acme.io/ca", &metav1.LabelSelector{}, "[one two]"},
			{"acme.io/ca", &metav1.LabelSelector{MatchLabels: map[string]string{"is": "live"}}, "[one]"},
			{"acme.io/ca", nil, "[]"},
			{"other.io/ca", &metav1.LabelSelector{}, "[]"},
		} {
			got, err := s.TrustBundles(t.Context(), tt.signer, tt.selector)
			if err != nil || fmt.Sprint(got) != tt.want {
				t.Errorf("%+v: %q, %v", tt, got, err)
			}
		}
		if _, err := s.TrustBundles(t.Context(), "acme.io/ca", &metav1.LabelSelector{MatchLabels: map[string]string{"a b": "c"}}); err == nil {
			t.Error("a bad selector is taken")
		}
	})
}
