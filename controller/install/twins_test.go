package install_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/twins"
)

// ca makes an authority and a certificate of it.
func ca(t *testing.T, name string, hosts ...string) (authority []byte, cert tls.Certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var ders [][]byte
	var parent *x509.Certificate
	for i, cn := range []string{name + "-ca", name} {
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: i == 0,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, DNSNames: hosts}
		if parent == nil {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &private.PublicKey, private)
		if err != nil {
			t.Fatal(err)
		}
		if parent, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		ders = append(ders, der)
	}
	raw, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ders[0]}), tls.Certificate{Certificate: ders[1:], PrivateKey: private}, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw})
}

// ownAddress is an address of this machine to which an API server proxies.
func ownAddress(t *testing.T) netip.Addr {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() && p.Addr().Is4() {
			return p.Addr()
		}
	}
	t.Skip("this machine has no address but loopback")
	return netip.Addr{}
}

// TestTwinsOnARealServer asks a real API server, whose front proxy asks the Server. Rights are
// those of the shipped roles.
func TestTwinsOnARealServer(t *testing.T) {
	address, dir := ownAddress(t), t.TempDir()
	front, client, key := ca(t, "front-proxy-client")
	for name, text := range map[string][]byte{"ca.crt": front, "client.key": key, "client.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]})} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := apiservertest.Start(t, "--requestheader-client-ca-file="+filepath.Join(dir, "ca.crt"), "--proxy-client-cert-file="+filepath.Join(dir, "client.crt"), "--proxy-client-key-file="+filepath.Join(dir, "client.key"),
		"--requestheader-allowed-names=front-proxy-client", "--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User", "--enable-aggregator-routing=true")
	if err := install.Ensure(t.Context(), install.Config{REST: a.Admin, Twins: true}); err != nil {
		t.Fatal(err)
	}
	own := account(t, a)
	store, err := twins.NewStore(twins.StoreConfig{})
	if err != nil {
		t.Fatal(err)
	}
	store.Put(twins.Report{Namespace: "default", Name: "pump", Node: "edge-1", Received: time.Now(), Status: []byte(`{"state":"online","twins":[{"propertyName":"t","reported":{"value":"7"}}]}`)})
	authority, cert, _ := ca(t, "cloudcore", twins.Host(install.Namespace))
	server, err := twins.New(twins.Config{Store: store, Cloud: clientFor(t, own), Certificate: func() (*tls.Certificate, error) { return &cert, nil }})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(address.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	ownDynamic, err := dynamic.NewForConfig(own)
	if err != nil {
		t.Fatal(err)
	}
	registration, err := twins.NewRegistration(twins.RegistrationConfig{Dynamic: ownDynamic, Namespace: install.Namespace,
		Address: netip.AddrPortFrom(address, uint16(l.Addr().(*net.TCPAddr).Port)), Authority: func() []byte { return authority }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- server.Run(ctx, l) }()
	go func() { done <- registration.Run(ctx) }()
	defer func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}()
	resource := func(cfg *rest.Config) dynamic.ResourceInterface {
		c, err := dynamic.NewForConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return c.Resource(schema.GroupVersionResource{Group: twins.Group, Version: twins.Version, Resource: twins.Resource}).Namespace("default")
	}
	until(t, func() string {
		got, err := resource(a.Admin).Get(t.Context(), "pump", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if got.Object["node"] != "edge-1" {
			return fmt.Sprint(got.Object)
		}
		return ""
	})
	// A user of the namespace may read them by the role "view", and nobody else.
	if _, err := resource(own).List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("list without a right: %v", err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "viewers"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edgekit:twins-view"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: install.Namespace, Name: install.ServiceAccount}}}
	if _, err := clientFor(t, a.Admin).RbacV1().RoleBindings("default").Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func() string { // a refusal is kept for ten seconds
		list, err := resource(own).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			return fmt.Sprintf("%v, %v", list, err)
		}
		return ""
	})
	watch, err := resource(a.Admin).Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	store.Put(twins.Report{Namespace: "default", Name: "pump", Node: "edge-1", Status: []byte(`{"state":"offline"}`)})
	for event := range watch.ResultChan() {
		raw, _ := json.Marshal(event.Object)
		if string(event.Type) == "MODIFIED" {
			break
		}
		if string(event.Type) != "ADDED" {
			t.Errorf("event %s %s", event.Type, raw)
		}
	}
	resources, err := clientFor(t, a.Admin).Discovery().ServerResourcesForGroupVersion(twins.Group + "/" + twins.Version)
	if err != nil || len(resources.APIResources) != 1 {
		t.Errorf("discovery %+v, %v", resources, err)
	}
	explainTwins(t, a)
}

// explainTwins has kubectl explain the resource, of the document that the API server gets from
// cloudcore.
func explainTwins(t *testing.T, a *apiservertest.Server) {
	t.Helper()
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	index := clientFor(t, a.Admin).RESTClient()
	services := client.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})
	tries := 0
	until(t, func() string { // a server that could not be asked is asked again when its APIService changes, or after a minute
		tries++
		touch := fmt.Appendf(nil, `{"metadata":{"annotations":{"edgekit.io/try":"%d"}}}`, tries)
		if _, err := services.Patch(t.Context(), twins.Version+"."+twins.Group, types.MergePatchType, touch, metav1.PatchOptions{}); err != nil {
			return err.Error()
		}
		text, err := index.Get().AbsPath("/openapi/v3").DoRaw(t.Context())
		if err != nil || !strings.Contains(string(text), twins.Group+"/"+twins.Version) {
			return fmt.Sprintf("the index has no twins: %v", err)
		}
		return ""
	})
	text, err := exec.CommandContext(t.Context(), apiservertest.Binary(t, "kube-*/kubectl"), "explain", "twins", "--recursive",
		"--server="+a.Host, "--token=admin-token", "--insecure-skip-tls-verify", "--kubeconfig=/dev/null", "--cache-dir="+t.TempDir()).CombinedOutput()
	got := strings.Join(strings.Fields(string(text)), " ")
	for _, want := range []string{"GROUP: twins.edgekit.io", "KIND: Twin", "VERSION: v1", "received <string>", "propertyName <string>", "lastOnlineTime <string>"} {
		if !strings.Contains(got, want) {
			t.Errorf("kubectl explain twins has no %q: %v: %s", want, err, text)
		}
	}
}
