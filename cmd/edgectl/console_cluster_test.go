package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// consoleCluster is a real API server, and the console of a cloudcore before it.
type consoleCluster struct {
	api  *apiservertest.Server
	kube kubernetes.Interface
	url  string // of the console
	ca   string // file of the console's authority

	authority *x509.Certificate // signs client certificates
	key       *ecdsa.PrivateKey // its key, and that of tokens which the test makes itself
}

func newConsoleCluster(t *testing.T) *consoleCluster {
	t.Helper()
	c := &consoleCluster{}
	c.authority, c.key = signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "authority"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true}, nil, nil)
	public, err := x509.MarshalPKIXPublicKey(&c.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	c.api = apiservertest.Start(t, "--client-ca-file="+write(t, pemOf("CERTIFICATE", c.authority.Raw)), "--service-account-key-file="+write(t, pemOf("PUBLIC KEY", public)))
	if err := install.Ensure(t.Context(), install.Config{REST: c.api.Admin, Namespace: "edgekit-system"}); err != nil {
		t.Fatal(err)
	}
	if c.kube, err = kubernetes.NewForConfig(c.api.Admin); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.url = "https://" + listener.Addr().String()
	leaf, key := signed(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}, nil, nil)
	c.ca = write(t, pemOf("CERTIFICATE", leaf.Raw))
	served := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	ctl, err := controller.New(controller.Config{REST: c.api.Admin, ID: "cloudcore-1", Namespace: "edgekit-system", Console: &console.Config{
		Listener: listener, Certificate: func() (*tls.Certificate, error) { return served, nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // it ends in the cleanup
	done := make(chan error, 1)
	go func() { done <- ctl.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-ctl.Ready()
	return c
}

// signed makes a key and a certificate for it, which signs itself if there is no parent.
func signed(t *testing.T, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// user makes a ServiceAccount with rights in the cluster, and a token of it.
func (c *consoleCluster) user(t *testing.T, name string, rules ...rbacv1.PolicyRule) (token string) {
	t.Helper()
	ctx, meta := t.Context(), metav1.ObjectMeta{Name: name}
	check := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(c.kube.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}))
	check(c.kube.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))
	check(c.kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}},
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
	}, metav1.CreateOptions{}))
	request, err := c.kube.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	check(nil, err)
	return request.Status.Token
}

// expired is a token of a ServiceAccount that was good until a minute ago.
func (c *consoleCluster) expired(t *testing.T, name string) string {
	t.Helper()
	account, err := c.kube.CoreV1().ServiceAccounts("default").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	const issuer = "https://kubernetes.default.svc"
	now := time.Now()
	text := part(map[string]string{"alg": "ES256", "typ": "JWT"}) + "." + part(map[string]any{
		"iss": issuer, "aud": []string{issuer}, "sub": "system:serviceaccount:default:" + name,
		"iat": now.Add(-time.Hour).Unix(), "nbf": now.Add(-time.Hour).Unix(), "exp": now.Add(-time.Minute).Unix(),
		"kubernetes.io": map[string]any{"namespace": "default", "serviceaccount": map[string]string{"name": name, "uid": string(account.UID)}},
	})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// kubeconfig writes one whose user has these lines.
func (c *consoleCluster) kubeconfig(t *testing.T, user string) string {
	t.Helper()
	return consoleKubeconfig(t, c.api.Host, user)
}

// certificate are the lines of a user with a client certificate, who is an administrator.
func (c *consoleCluster) certificate(t *testing.T) string {
	t.Helper()
	cert, key := signed(t, &x509.Certificate{Subject: pkix.Name{CommonName: "carol", Organization: []string{"system:masters"}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, c.authority, c.key)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("{client-certificate: %q, client-key: %q}", write(t, pemOf("CERTIFICATE", cert.Raw)), write(t, pemOf("EC PRIVATE KEY", der)))
}

// TestConsoleOfARealCluster runs the command as users with a token, a client certificate, a token that
// has run out, and no rights, before a real API server and the console of a real controller.
func TestConsoleOfARealCluster(t *testing.T) {
	c := newConsoleCluster(t)
	viewer := c.user(t, "viewer", rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}})
	nobody := c.user(t, "nobody")
	node := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Labels: map[string]string{"node-role.kubernetes.io/edge": ""}}}
	if _, err := c.kube.CoreV1().Nodes().Create(t.Context(), &node, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	direct := consoleCmd{Listen: "127.0.0.1:0", Server: c.url, CA: c.ca}
	certificate := c.kubeconfig(t, c.certificate(t))
	tokenFile := direct
	tokenFile.TokenFile = write(t, []byte(viewer)) // what 'kubectl create token viewer' prints
	for name, tt := range map[string]struct {
		cmd        consoleCmd
		kubeconfig string
		me         string
		nodes      int // the status
		text       string
	}{
		"token":                      {direct, c.kubeconfig(t, "{token: "+viewer+"}"), "system:serviceaccount:default:viewer", http.StatusOK, `"edge-1"`},
		"certificate and token file": {tokenFile, certificate, "system:serviceaccount:default:viewer", http.StatusOK, `"edge-1"`},
		"no rights":                  {direct, c.kubeconfig(t, "{token: "+nobody+"}"), `"listNodes":false`, http.StatusForbidden, "list"},
	} {
		t.Run(name, func(t *testing.T) {
			get, stop := openConsole(t, tt.cmd, tt.kubeconfig)
			defer stop()
			if code, text := get("me"); code != http.StatusOK || !strings.Contains(text, tt.me) {
				t.Errorf("the browser's user: %d %s", code, text)
			}
			// The console learns of the node a moment after it was made.
			ends := time.Now().Add(time.Minute)
			code, text := get("nodes")
			for code != tt.nodes || !strings.Contains(text, tt.text) {
				if time.Now().After(ends) {
					t.Fatalf("the nodes: %d %s", code, text)
				}
				code, text = get("nodes")
			}
		})
	}
	expired := c.kubeconfig(t, "{token: "+c.expired(t, "viewer")+"}")
	inCluster := consoleCmd{Listen: "127.0.0.1:0", Port: 10005}
	withCA := inCluster
	withCA.CA = c.ca
	for name, tt := range map[string]struct {
		cmd        consoleCmd
		kubeconfig string
		want       string
		usage      bool
	}{
		"certificate":                  {direct, certificate, "kubectl create token", true},
		"expired":                      {direct, expired, "does not accept your token: it may have run out", false},
		"expired, in the cluster":      {inCluster, expired, "does not accept its credentials: they may have run out", true},
		"no rights, in the cluster":    {inCluster, c.kubeconfig(t, "{token: "+nobody+"}"), "give it as --ca FILE", true},
		"no rights to pods":            {withCA, c.kubeconfig(t, "{token: "+nobody+"}"), "use --server", false},
		"no cloudcore, in the cluster": {withCA, c.kubeconfig(t, "{token: admin-token}"), "no pod of cloudcore in namespace edgekit-system", false},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.cmd.Run(t.Context(), &cli{Kubeconfig: tt.kubeconfig, Namespace: "edgekit-system"}, program.Output{Writer: io.Discard})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("the error is %v, want %q", err, tt.want)
			}
			if _, ok := errors.AsType[*program.UsageError](err); ok != tt.usage {
				t.Errorf("%v: it names a setting: %v", err, ok)
			}
			t.Log(err)
		})
	}
}
