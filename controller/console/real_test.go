package console_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// selfSigned makes a certificate for 127.0.0.1.
func selfSigned(t *testing.T) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// realConsole is a cloudcore's controller with a console, before a real API server.
type realConsole struct {
	t    *testing.T
	url  string
	cert *tls.Certificate
	kube kubernetes.Interface
}

func newRealConsole(t *testing.T, api *apiservertest.Server) *realConsole {
	t.Helper()
	r := &realConsole{t: t, cert: selfSigned(t)}
	if err := install.Ensure(t.Context(), install.Config{REST: api.Admin, Namespace: "edgekit-system"}); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.kube, err = kubernetes.NewForConfig(api.Admin); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.url = "https://" + l.Addr().String()
	c, err := controller.New(controller.Config{REST: api.Admin, ID: "cloudcore-1", Namespace: "edgekit-system", Jobs: &jobs.Config{}, Console: &console.Config{
		Listener: l, Certificate: func() (*tls.Certificate, error) { return r.cert, nil },
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-c.Ready()
	return r
}

// user makes a ServiceAccount with the rules in the namespace, or in the cluster for "", and
// logs it in.
func (r *realConsole) user(name, namespace string, rules ...rbacv1.PolicyRule) *http.Client {
	r.t.Helper()
	ctx := r.t.Context()
	check := func(err error) {
		r.t.Helper()
		if err != nil {
			r.t.Fatal(err)
		}
	}
	_, err := r.kube.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	check(err)
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: name}}
	meta := metav1.ObjectMeta{Name: name, Namespace: namespace}
	if namespace == "" {
		_, err = r.kube.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		check(err)
		_, err = r.kube.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name}}, metav1.CreateOptions{})
		check(err)
	} else {
		_, err = r.kube.RbacV1().Roles(namespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{})
		check(err)
		_, err = r.kube.RbacV1().RoleBindings(namespace).Create(ctx, &rbacv1.RoleBinding{ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name}}, metav1.CreateOptions{})
		check(err)
	}
	token, err := r.kube.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	check(err)
	jar, err := cookiejar.New(nil)
	check(err)
	roots := x509.NewCertPool()
	roots.AddCert(r.cert.Leaf)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	r.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Jar: jar, Transport: transport}
	if code, body := r.send(client, http.MethodPost, "session", fmt.Sprintf(`{"token":%q}`, token.Status.Token)); code != http.StatusOK || !strings.Contains(body, "system:serviceaccount:default:"+name) {
		r.t.Fatalf("login of %s: %d %s", name, code, body)
	}
	return client
}

func (r *realConsole) send(client *http.Client, method, path, body string) (int, string) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url+"/console/api/v1/"+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("X-Edgekit-Console", "1")
	q.Header.Set("Origin", r.url)
	answer, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	var out bytes.Buffer
	if _, err := out.ReadFrom(answer.Body); err != nil {
		r.t.Fatal(err)
	}
	return answer.StatusCode, out.String()
}

// fill makes a fleet: a node, a device in each of two namespaces, and a job.
func (r *realConsole) fill(api *apiservertest.Server) dynamic.Interface {
	r.t.Helper()
	ctx := r.t.Context()
	objects, err := dynamic.NewForConfig(api.Admin)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.kube.CoreV1().Nodes().Create(ctx, edgeNode("edge-1", "north", ""), metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
	create := func(resource, namespace, text string) {
		r.t.Helper()
		u := new(unstructured.Unstructured)
		if err := json.Unmarshal([]byte(text), &u.Object); err != nil {
			r.t.Fatal(err)
		}
		gv := v1beta1.GroupVersion()
		if namespace == "" {
			gv = v1alpha2.GroupVersion()
		}
		if _, err := objects.Resource(gv.WithResource(resource)).Namespace(namespace).Create(ctx, u, metav1.CreateOptions{}); err != nil {
			r.t.Fatal(err)
		}
	}
	for _, namespace := range []string{"plant", "office"} {
		if _, err := r.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
			r.t.Fatal(err)
		}
		create("devices", namespace, `{"apiVersion":"devices.kubeedge.io/v1beta1","kind":"Device","metadata":{"name":"boiler-`+namespace+`"},"spec":{"nodeName":"edge-1","deviceModelRef":{"name":"m"},"protocol":{"protocolName":"modbus"}}}`)
	}
	create(v1alpha2.NodeUpgradeJobs, "", `{"apiVersion":"operations.kubeedge.io/v1alpha2","kind":"NodeUpgradeJob","metadata":{"name":"up"},"spec":{"version":"v1.24.0","nodeNames":["edge-1"],"paused":true}}`)
	return objects
}

// TestRealAPIServer logs ServiceAccounts in by their tokens: one that may do nothing gets 403
// everywhere, one with rights in a namespace sees that, one may change a job, and another that
// may only read it may not.
func TestRealAPIServer(t *testing.T) {
	api := apiservertest.Start(t)
	r := newRealConsole(t, api)
	objects := r.fill(api)
	read := []string{"get", "list"}
	nobody := r.user("nobody", "")
	plant := r.user("plant", "plant", rbacv1.PolicyRule{APIGroups: []string{"devices.kubeedge.io"}, Resources: []string{"devices", "devicestatuses"}, Verbs: read})
	viewer := r.user("viewer", "", rbacv1.PolicyRule{APIGroups: []string{"", "devices.kubeedge.io", "operations.kubeedge.io"}, Resources: []string{"*"}, Verbs: read})
	operator := r.user("operator", "", rbacv1.PolicyRule{APIGroups: []string{"operations.kubeedge.io"}, Resources: []string{"nodeupgradejobs"}, Verbs: append(read, "patch")})
	hubtest.Until(t, "the fleet is known", func() bool {
		_, body := r.send(viewer, http.MethodGet, "summary", "")
		return strings.Contains(body, `"nodes":{"total":1,`) && strings.Contains(body, `"devices":{"total":2,`) && strings.Contains(body, `"jobs":{"active":1}`)
	})
	for _, tt := range []struct {
		user               *http.Client
		method, path, want string
		code               int
	}{
		{nobody, "GET", "me", `"listNodes":false`, 200},
		{nobody, "GET", "summary", `may list neither`, 403},
		{nobody, "GET", "nodes", "", 403},
		{nobody, "GET", "nodes/edge-1", "", 403},
		{nobody, "GET", "nodes/edge-1/pods", "", 403},
		{nobody, "GET", "nodes/edge-1/devices", "", 403},
		{nobody, "GET", "nodes/edge-1/events", "", 403},
		{nobody, "GET", "devices", "", 403},
		{nobody, "GET", "devices/plant/boiler-plant", "", 403},
		{nobody, "GET", "devices/plant/boiler-plant/live", "", 403},
		{nobody, "GET", "jobs", "", 403},
		{nobody, "GET", "jobs/NodeUpgradeJob/up", "", 403},
		{nobody, "POST", "jobs/NodeUpgradeJob/up/cancel", "", 403},
		{nobody, "GET", "pods/plant/a/log", "", 403},
		{nobody, "GET", "stream?topics=summary", "", 403},
		{plant, "GET", "devices", `"total":1`, 200},
		{plant, "GET", "devices?namespace=office", "", 403},
		{plant, "GET", "devices/plant/boiler-plant", `"node":"edge-1"`, 200},
		{plant, "GET", "devices/office/boiler-office", "", 403},
		{plant, "GET", "nodes/edge-1/devices", `"name":"boiler-plant"`, 200},
		{plant, "GET", "summary", `{"devices":{"total":1,"online":0}}`, 200},
		{plant, "GET", "nodes", "", 403},
		{viewer, "GET", "nodes", `"name":"edge-1","site":"north"`, 200},
		{viewer, "GET", "nodes/edge-1/events", `"items":[]`, 200},
		{viewer, "GET", "jobs", `"paused":true`, 200},
		{viewer, "POST", "jobs/NodeUpgradeJob/up/resume", "cannot patch resource", 403},
		{viewer, "GET", "pods/plant/none/log", "not found", 404},
		{operator, "GET", "jobs/NodeUpgradeJob/up", `"actions":["resume","cancel"]`, 200},
		{operator, "POST", "jobs/NodeUpgradeJob/up/cancel", `"actions":[]`, 200},
		{operator, "GET", "nodes", "", 403},
	} {
		code, body := r.send(tt.user, tt.method, tt.path, "")
		if code != tt.code || !strings.Contains(body, tt.want) || code == 403 && (strings.Contains(body, "boiler") && !strings.Contains(tt.path, "boiler") || strings.Contains(body, "items")) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, code, body)
		}
	}
	job, err := objects.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeUpgradeJobs)).Get(t.Context(), "up", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cancelled, _, _ := unstructured.NestedBool(job.Object, "spec", "cancel"); !cancelled {
		t.Errorf("the job is not cancelled: %v", job.Object["spec"])
	}
	if code, _ := r.send(operator, http.MethodDelete, "session", ""); code != http.StatusOK {
		t.Errorf("logout: %d", code)
	}
	if code, _ := r.send(operator, http.MethodGet, "me", ""); code != http.StatusUnauthorized {
		t.Errorf("after logout: %d", code)
	}
}
