package kubeletproxy

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
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/hub/hubtest"
)

// binariesEnv names a folder with kube-*/kube-apiserver and etcd-*/etcd, such as that of
// the development cluster.
const binariesEnv = "EDGEKIT_KUBE_BIN"

// TestPreferredAddressTypes has real API servers with the built-in order of address types,
// with kubeadm's, and with kubeadm's changed, dial a node's endpoint for a request of
// kubectl. The API server verifies the endpoint's certificate. With InternalDNS the Node's
// first InternalIP is its own.
func TestPreferredAddressTypes(t *testing.T) {
	folder := os.Getenv(binariesEnv)
	if folder == "" {
		t.Skip(binariesEnv + " is not set")
	}
	address := ownAddress(t)
	for name, tt := range map[string]struct {
		order string // "" is the built-in one
		works []corev1.NodeAddressType
	}{
		"built-in":         {"", []corev1.NodeAddressType{corev1.NodeInternalDNS, corev1.NodeHostName, corev1.NodeInternalIP}},
		"kubeadm":          {"InternalIP,ExternalIP,Hostname", []corev1.NodeAddressType{corev1.NodeInternalIP}},
		"kubeadm, changed": {"InternalDNS,InternalIP,ExternalIP,Hostname", []corev1.NodeAddressType{corev1.NodeInternalDNS, corev1.NodeInternalIP}},
	} {
		t.Run(name, func(t *testing.T) {
			ca := newAuthority(t)
			kube := apiServer(t, folder, ca, tt.order)
			for _, kind := range tt.works {
				c := newCloud(t, func(cfg *Config) {
					cfg.Address, cfg.Bind, cfg.AddressType, cfg.FirstPort, cfg.Ports = address, address.String(), kind, 33100, 500
					cfg.ClientCA = func(context.Context) ([]byte, error) { return ca.pem(), nil }
					cert := ca.server(t, address)
					cfg.Certificate = func() (*tls.Certificate, error) { return cert, nil }
				})
				c.run(t)
				node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}
				node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}, {Type: corev1.NodeHostName, Address: "edge-1"}}
				c.AmendNode(node)
				writeNode(t, kube, node)
				body, err := kube.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/edge-1/proxy/pods").DoRaw(t.Context())
				if err != nil || !strings.HasPrefix(string(body), "GET /pods") {
					t.Errorf("%s: %q %v", kind, body, err)
				}
				stored, err := kube.CoreV1().Nodes().Get(t.Context(), "edge-1", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				first := stored.Status.Addresses[0]
				if own := first.Address == "192.0.2.7"; first.Type != corev1.NodeInternalIP || own != (kind != corev1.NodeInternalIP) {
					t.Errorf("%s: %+v", kind, stored.Status.Addresses)
				}
			}
		})
	}
}

// writeNode makes the Node's status what it is, as the API server stores it.
func writeNode(t *testing.T, kube kubernetes.Interface, node *corev1.Node) {
	t.Helper()
	_ = kube.CoreV1().Nodes().Delete(t.Context(), node.Name, metav1.DeleteOptions{}) // of the turn before
	if _, err := kube.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node.Name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"addresses": node.Status.Addresses, "daemonEndpoints": node.Status.DaemonEndpoints}})
	if err == nil {
		_, err = kube.CoreV1().Nodes().Patch(t.Context(), node.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil {
		t.Fatal(err)
	}
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

// server signs a certificate of a server at an address.
func (a authority) server(t *testing.T, address netip.Addr) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "cloudcore"}, IPAddresses: []net.IP{address.AsSlice()},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// apiServer starts etcd and an API server whose kubelet client is the user admin of ca,
// and returns an administrator's client.
func apiServer(t *testing.T, folder string, ca authority, order string) kubernetes.Interface {
	t.Helper()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	client := ca.client(t, "admin")
	key, err := x509.MarshalECPrivateKey(client.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})
	keyFile, caFile := file("key.pem", keyPEM), file("ca.pem", ca.pem())
	certFile := file("cert.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: client.Certificate[0]}))
	tokens := file("tokens", []byte("secret,root,1,system:masters\n"))
	etcd, peer, port := freePort(t), freePort(t), freePort(t)
	start(t, folder, "etcd", "--data-dir="+filepath.Join(dir, "etcd"), "--listen-client-urls="+etcd.url(), "--advertise-client-urls="+etcd.url(),
		"--listen-peer-urls="+peer.url(), "--initial-advertise-peer-urls="+peer.url(), "--initial-cluster=default="+peer.url(), "--unsafe-no-fsync")
	args := []string{
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port=" + port.port, "--cert-dir=" + dir, "--endpoint-reconciler-type=none",
		"--etcd-servers=" + etcd.url(), "--token-auth-file=" + tokens, "--authorization-mode=Node,RBAC", "--service-cluster-ip-range=10.96.0.0/16",
		"--service-account-issuer=https://test", "--service-account-key-file=" + keyFile, "--service-account-signing-key-file=" + keyFile,
		"--client-ca-file=" + caFile, "--kubelet-client-certificate=" + certFile, "--kubelet-client-key=" + keyFile, "--kubelet-certificate-authority=" + caFile,
	}
	if order != "" {
		args = append(args, "--kubelet-preferred-address-types="+order)
	}
	start(t, folder, "kube-apiserver", args...)
	kube, err := kubernetes.NewForConfig(&rest.Config{Host: "https://127.0.0.1:" + port.port, BearerToken: "secret", TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	hubtest.Until(t, "the API server is ready", func() bool {
		_, err := kube.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(t.Context())
		return err == nil
	})
	return kube
}

// endpointOf is a local port for another program.
type endpointOf struct{ port string }

func (e endpointOf) url() string { return "http://127.0.0.1:" + e.port }

// freePort is a port that nobody listens on now.
func freePort(t *testing.T) endpointOf {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return endpointOf{port}
}

// start runs a program until the test's end. Its output is shown if the test fails.
func start(t *testing.T, folder, name string, args ...string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(folder, "*", name))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s in %s: %v", name, folder, err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), found[len(found)-1], args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s: %s", name, text[max(0, len(text)-3000):])
		}
	})
}
