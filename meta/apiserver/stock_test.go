package apiserver

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/memstore"
)

// stock is a server with its real listeners, and a cloud that connected turns on.
type stock struct {
	*scene
	kubeconfig string
	connected  atomic.Bool
}

func newStock(t *testing.T) *stock {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	addr := netip.MustParseAddrPort(probe.Addr().String())
	probe.Close()
	dir := t.TempDir()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	s := &stock{kubeconfig: filepath.Join(dir, KubeconfigName)}
	cloud := &fakeCloud{store: store}
	authority, err := OpenAuthority(dir)
	must(t, err)
	api, err := New(Config{
		Store: store, Node: "gate-7", Cloud: cloud, Authority: authority, Dir: dir, Listen: addr, Socket: filepath.Join(dir, "api.sock"),
		Connected: func() (bool, time.Time) { return s.connected.Load(), time.Time{} },
	})
	must(t, err)
	s.scene = &scene{Server: api, t: t, store: store, cloud: cloud, requests: new(atomic.Int64)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	for began := time.Now(); ; {
		if c, err := net.Dial("tcp", addr.String()); err == nil {
			c.Close()
			return s
		}
		if time.Since(began) > 10*time.Second {
			t.Fatal("the server does not listen")
		}
	}
}

// program returns the path in the environment variable, or skips the test.
func program(t *testing.T, variable string) string {
	path := os.Getenv(variable)
	if path == "" {
		t.Skipf("set %s to the program", variable)
	}
	return path
}

// TestKubectl runs the real kubectl: KUBECTL=path go test -run TestKubectl.
func TestKubectl(t *testing.T) {
	path := program(t, "KUBECTL")
	s := newStock(t)
	s.put("pods", "1", pod("a", map[string]string{"app": "web"}))
	s.put("nodes", "1", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}})
	s.put("namespaces", "1", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	s.put("services", "1", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.10", Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}}})
	kubectl := func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, path, append([]string{"--kubeconfig", s.kubeconfig, "--cache-dir", t.TempDir()}, args...)...)
	}
	for command, want := range map[string]string{
		"get pods -A -o wide":                           "gate-7",
		"get po -n shop -l app=web":                     "0/1     Pending",
		"get pods -n shop -o yaml":                      "kind: List",
		"get pod a -n shop -o jsonpath={.metadata.uid}": "uid-a",
		"get nodes":               "gate-7   Unknown",
		"get ns":                  "shop   Active",
		"get svc -n shop":         "80/TCP",
		"describe pod a -n shop":  "Node:             gate-7",
		"api-resources":           "endpointslices",
		"auth whoami":             "system:node:gate-7",
		"auth can-i list secrets": "yes",
		"version":                 "Server Version: v1.37.2",
		"delete pod a -n shop":    "out of reach",
		"get deployments -n shop": "doesn't have a resource type",
		"get pods -A --watch --request-timeout=1s": "Pending",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		out, _ := kubectl(ctx, strings.Fields(command)...).CombinedOutput()
		cancel()
		if !strings.Contains(string(out), want) {
			t.Errorf("kubectl %s: want %q in\n%s", command, want, out)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w := kubectl(ctx, "get", "pods", "-n", "shop", "-w", "--no-headers")
	out, err := w.StdoutPipe()
	must(t, err)
	must(t, w.Start())
	defer w.Wait()
	defer cancel()
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || !strings.Contains(lines.Text(), want) {
			t.Errorf("kubectl get -w printed %q, want %q", lines.Text(), want)
		}
	}
	expect("Pending")
	s.putIn(meta.Up, "pods/status", "", &corev1.Pod{ObjectMeta: pod("a", nil).ObjectMeta, Status: corev1.PodStatus{Phase: corev1.PodRunning}})
	expect("Running")
	s.drop("pods", "shop", "a")
	expect("a ")
}

// TestKubectlApply runs kubectl apply, which has the server validate: a new
// object, one that is here, and both without a cloud.
func TestKubectlApply(t *testing.T) {
	path := program(t, "KUBECTL")
	s := newStock(t)
	var asked []string
	s.cloud.answer = func(q meta.Object) (meta.Object, error) {
		req, err := wire.DecodeRequest(q.Body)
		must(t, err)
		asked = append(asked, req.Method+" "+req.Path+"?"+req.Query)
		answer := wire.Response{Code: http.StatusOK, ContentType: "application/json", Body: []byte(`{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"shop","resourceVersion":"7"}}`)}
		switch req.Method {
		case http.MethodGet:
			answer.Code, answer.Body = http.StatusNotFound, []byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		case http.MethodPost:
			answer.Code = http.StatusCreated
		}
		body, err := answer.Encode()
		return meta.Object{Body: body}, err
	}
	manifest := filepath.Join(t.TempDir(), "c.yaml")
	must(t, os.WriteFile(manifest, []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: shop}\ndata: {a: \"1\"}\n"), 0o600))
	apply := func(want string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, _ := exec.CommandContext(ctx, path, "--kubeconfig", s.kubeconfig, "--cache-dir", t.TempDir(), "apply", "-f", manifest).CombinedOutput()
		if !strings.Contains(string(out), want) {
			t.Errorf("kubectl apply: want %q in\n%s", want, out)
		}
	}
	apply("out of reach")
	s.connected.Store(true)
	apply("configmap/c created")
	s.put("configmaps", "7", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}})
	apply("configmap/c configured")
	s.connected.Store(false)
	apply("out of reach")
	all := strings.Join(asked, "\n")
	for _, want := range []string{"POST /api/v1/namespaces/shop/configmaps?", "PATCH /api/v1/namespaces/shop/configmaps/c?"} {
		if _, rest, ok := strings.Cut(all, want); !ok || !strings.Contains(strings.SplitN(rest, "\n", 2)[0], "fieldValidation=Strict") {
			t.Errorf("no %s with validation by the server in\n%s", want, all)
		}
	}
}

// answerServer sends an answer to each TCP connection, until the test ends, and returns its
// port.
func answerServer(t *testing.T, answer string) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "10.1.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, answer)
			c.Close()
		}
	}()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// webEndpoints is the EndpointSlice of the Service shop/web, with one endpoint.
func webEndpoints(port uint16) *discoveryv1.EndpointSlice {
	p, name, proto := int32(port), "http", corev1.ProtocolTCP
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-x", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &p, Protocol: &proto}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr(true)}}}}
}

// TestKubeProxy runs the real kube-proxy, first with no cloud, in the network
// namespace of the test: unshare -n, with KUBE_PROXY=path, and KUBE_PROXY_MODE
// for another mode than iptables. A Service answers on its ClusterIP, and follows
// when its endpoints change, also once there is a cloud.
func TestKubeProxy(t *testing.T) {
	path := program(t, "KUBE_PROXY")
	if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
		t.Skip("needs a network namespace of its own: unshare -n")
	}
	s := newStock(t)
	for _, args := range [][]string{{"link", "add", "d0", "type", "veth", "peer", "name", "d1"}, {"addr", "add", "10.1.0.1/24", "dev", "d0"},
		{"link", "set", "d0", "up"}, {"link", "set", "d1", "up"}, {"route", "add", "10.96.0.0/16", "dev", "d0"}} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %s", args, out)
		}
	}
	s.put("nodes", "1", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}}})
	s.putIn(meta.Up, "nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}}})
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		SessionAffinity: corev1.ServiceAffinityNone,
		Ports:           []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}}}}
	s.put("services", "1", web)
	s.put("endpointslices", "1", webEndpoints(answerServer(t, "one")))
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	must(t, err)
	mode := os.Getenv("KUBE_PROXY_MODE")
	if mode == "" {
		mode = "iptables"
	}
	proxy := exec.CommandContext(ctx, path, "--kubeconfig", s.kubeconfig, "--hostname-override", "gate-7", "--proxy-mode", mode,
		"--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0", "--v=2")
	proxy.Stdout, proxy.Stderr = log, log
	must(t, proxy.Start())
	defer proxy.Wait()
	defer cancel()
	expect := func(want string) {
		t.Helper()
		for ctx.Err() == nil {
			c, err := net.DialTimeout("tcp", "10.96.0.10:80", 300*time.Millisecond)
			if err != nil {
				continue
			}
			_ = c.SetDeadline(time.Now().Add(time.Second))
			got := make([]byte, 16)
			n, _ := c.Read(got)
			c.Close()
			if string(got[:n]) == want {
				return
			}
		}
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("the ClusterIP does not answer %q\n%s", want, text)
	}
	expect("one")
	s.put("endpointslices", "2", webEndpoints(answerServer(t, "two")))
	expect("two")
	s.connected.Store(true)
	s.put("endpointslices", "3", webEndpoints(answerServer(t, "three")))
	expect("three")

	// Endpoints are kept within the node's group, and follow its label.
	group := func(version, name string) {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7", Labels: map[string]string{wire.GroupLabel: name}}, Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}}}
		s.put(wire.MembersResource, version, n)
		s.put("nodes", version, n)
	}
	group("4", "a")
	for node, in := range map[string]string{"n1": "a", "n2": "b"} {
		s.put(wire.MembersResource, "1", inGroup(node, in))
		slice := webEndpoints(answerServer(t, in))
		slice.Name, slice.Endpoints[0].NodeName = "web-"+node, ptr(node)
		s.put("endpointslices", "1", slice)
	}
	ranged := web.DeepCopy()
	ranged.Annotations = map[string]string{wire.TopologyAnnotation: wire.TopologyNodeGroup}
	s.put("services", "2", ranged)
	s.drop("endpointslices", "shop", "web-x")
	expect("a")
	group("5", "b")
	expect("b")
	for range 20 {
		expect("b")
	}
}
