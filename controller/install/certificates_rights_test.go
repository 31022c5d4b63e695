package install_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/memstore"
)

// straight is the Manager of a node whose cloud is in the same program.
type straight struct {
	kube.Manager
	mux *hub.Mux
}

func (s straight) Query(ctx context.Context, q meta.Object) (meta.Object, error) {
	m, err := s.mux.ServeCall(ctx, hub.Request{Node: "n", Message: hub.Message{Operation: hub.Query, Key: hub.Key(q.Key), Body: q.Body}})
	return meta.Object{Key: q.Key, Body: m.Body}, err
}

// authority signs certificates for pods.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	must := mustDo(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must("key", err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pods"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(100 * time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must("authority", err)
	cert, err := x509.ParseCertificate(der)
	must("authority", err)
	return &authority{key, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// sign answers all requests that wait.
func (a *authority) sign(ctx context.Context, admin kubernetes.Interface) error {
	requests := admin.CertificatesV1().PodCertificateRequests("default")
	list, err := requests.List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		r := &list.Items[i]
		if len(r.Status.Conditions) > 0 {
			continue
		}
		proof, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
		if err != nil {
			return err
		}
		now := time.Now().Truncate(time.Second)
		template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(23 * time.Hour), Subject: pkix.Name{CommonName: string(r.Spec.PodUID)}}
		der, err := x509.CreateCertificate(rand.Reader, template, a.cert, proof.PublicKey, a.key)
		if err != nil {
			return err
		}
		at := func(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }
		r.Status = certificatesv1.PodCertificateRequestStatus{
			Conditions:       []metav1.Condition{{Type: "Issued", Status: metav1.ConditionTrue, Reason: "Signed", Message: "by the test", LastTransitionTime: metav1.Now()}},
			CertificateChain: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
			NotBefore:        at(template.NotBefore), NotAfter: at(template.NotAfter), BeginRefreshAt: at(now.Add(16 * time.Hour)),
		}
		if _, err := requests.UpdateStatus(ctx, r, metav1.UpdateOptions{}); err != nil {
			return err
		}
	}
	return nil
}

// TestCertificatesOfNode uses a real kube-apiserver and the shipped role: the trust bundles
// that a pod names and selects are sent to its node, and the node gets a certificate for it.
func TestCertificatesOfNode(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	admin, own := clientFor(t, a.Admin), clientFor(t, cfg)
	client, err := impersonate.Client(cfg, impersonate.Constrained)
	must, ctx := mustDo(t), t.Context()
	must("client", err)
	ca := newAuthority(t)
	pod := createCertified(t, admin, client, ca)
	c := runEdge(t, own, client)
	source, changed := subscribe(t, c)
	want := []hub.Key{{Resource: "clustertrustbundles", Name: "named"}, {Resource: "clustertrustbundles", Name: "acme.io:ca:one"}}
	awaitKeys(t, source, changed, want)
	for _, key := range want {
		if obj, err := c.Source("n").Load(ctx, key, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load of %s: %+v, %v", key, obj, err)
		}
	}
	if obj, err := c.Source("n").Load(ctx, hub.Key{Resource: "clustertrustbundles", Name: "acme.io:ca:canary"}, ""); err != nil || !obj.Deleted {
		t.Errorf("one that is not selected: %+v, %v", obj, err)
	}
	var mux hub.Mux
	c.Handle(&mux)
	node, err := kube.New(kube.Config{Store: memstore.New(), Manager: straight{mux: &mux}, Node: "n"})
	must("node", err)
	if account, err := node.ServiceAccount(ctx, "default", "robot"); err != nil || account.UID == "" {
		t.Errorf("service account: %v, %v", account, err)
	}
	until(t, func() string {
		bundle, _, err := node.PodCertificate(ctx, pod, "v", 2)
		if err != nil {
			return fmt.Sprint(err, ca.sign(ctx, admin))
		}
		pair, err := tls.X509KeyPair(bundle, bundle)
		must("pair", err)
		if pair.Leaf.Subject.CommonName != string(pod.UID) || pair.Leaf.CheckSignatureFrom(ca.cert) != nil {
			t.Errorf("certificate %+v", pair.Leaf.Subject)
		}
		return ""
	})
	if list, err := admin.CertificatesV1().PodCertificateRequests("default").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 || list.Items[0].Spec.NodeName != "n" {
		t.Errorf("requests %+v, %v", list, err)
	}
}

// createCertified creates the node n, trust bundles and, bound to the node, a pod that
// projects these and a certificate.
func createCertified(t *testing.T, admin, client kubernetes.Interface, ca *authority) *corev1.Pod {
	t.Helper()
	ctx, must := t.Context(), mustDo(t)
	registerEdge(t, admin, client)
	name, signer := "named", "acme.io/ca"
	for name, b := range map[string]struct{ signer, label string }{"named": {}, "acme.io:ca:one": {signer, "live"}, "acme.io:ca:canary": {signer, "canary"}} {
		bundle := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"is": b.label}}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: b.signer, TrustBundle: ca.pem}}
		_, err := admin.CertificatesV1().ClusterTrustBundles().Create(ctx, bundle, metav1.CreateOptions{})
		must("bundle", err)
	}
	_, err := admin.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot"}}, metav1.CreateOptions{})
	must("service account", err)
	pod, err := admin.CoreV1().Pods("default").Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{
		NodeName: "n", ServiceAccountName: "robot", AutomountServiceAccountToken: new(bool), Containers: []corev1.Container{{Name: "c", Image: "i", VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
		Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{Name: &name, Path: "a"}},
			{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{SignerName: &signer, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"is": "live"}}, Path: "b"}},
			{PodCertificate: &corev1.PodCertificateProjection{SignerName: "acme.io/pods", KeyType: "ECDSAP256", CredentialBundlePath: "c"}},
		}}}}},
	}}, metav1.CreateOptions{})
	must("pod", err)
	return pod
}
