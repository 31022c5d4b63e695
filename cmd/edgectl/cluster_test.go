package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// startAPIServer starts a real kube-apiserver with an etcd of its own, and returns a kubeconfig of
// its administrator. It skips the test where 'make cluster-up' has not built them.
func startAPIServer(t *testing.T) (kubernetes.Interface, string) {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip(err)
	}
	var programs []string
	for _, pattern := range []string{"etcd-*/etcd", "kube-*/kube-apiserver"} {
		found, err := filepath.Glob(filepath.Join(cache, "edgekit", "bin", pattern))
		if err != nil || len(found) == 0 {
			t.Skipf("no %s: 'make cluster-up' builds it", pattern)
		}
		programs = append(programs, found[len(found)-1])
	}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, tokens := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens.csv")
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	writeFile(t, tokens, "admin-token,admin,admin,system:masters\n")
	ports := freePorts(t, 3)
	store := fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	startProgram(t, dir, programs[0], "--data-dir", filepath.Join(dir, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", fmt.Sprintf("http://127.0.0.1:%d", ports[1]), "--unsafe-no-fsync")
	startProgram(t, dir, programs[1], "--etcd-servers="+store, fmt.Sprintf("--secure-port=%d", ports[2]), "--bind-address=127.0.0.1", "--cert-dir="+dir, "--token-auth-file="+tokens,
		"--authorization-mode=Node,RBAC", "--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+keyFile, "--service-account-signing-key-file="+keyFile,
		"--service-cluster-ip-range=10.96.0.0/16")
	host := fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	client, err := kubernetes.NewForConfig(&rest.Config{Host: host, BearerToken: "admin-token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	ready := time.NewTicker(200 * time.Millisecond)
	defer ready.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for {
		_, err := client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err == nil {
			break
		}
		select {
		case <-ctx.Done():
			t.Fatal("kube-apiserver does not get ready:", err)
		case <-ready.C:
		}
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: host, InsecureSkipTLSVerify: true}
	cfg.AuthInfos["c"] = &clientcmdapi.AuthInfo{Token: "admin-token"}
	cfg.Contexts["c"], cfg.CurrentContext = &clientcmdapi.Context{Cluster: "c", AuthInfo: "c"}, "c"
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*cfg, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return client, kubeconfig
}

func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

// startProgram starts a program that lives as long as the test.
func startProgram(t *testing.T, dir, path string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &log, &log, dir
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s:\n%s", path, log.Bytes()[max(0, log.Len()-3000):])
		}
	})
}

// edgectl runs a command line and returns its exit code and output.
func edgectl(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := &cli{}
	code = program.Program{Name: "edgectl", CLI: c, Command: c.command, ConfigFile: filepath.Join(t.TempDir(), "none.yaml"), Stdout: &stdout, Stderr: &stderr}.Run(t.Context(), args)
	return code, stdout.String(), stderr.String()
}

// addNode registers an edge node that cloudcore cc looks after.
func addNode(t *testing.T, client kubernetes.Interface, name string, connected bool, cc string) {
	t.Helper()
	ctx := t.Context()
	status := map[bool]corev1.ConditionStatus{true: corev1.ConditionTrue, false: corev1.ConditionFalse}[connected]
	want := edgeNode(name, status, corev1.ConditionTrue, time.Now().Add(-time.Hour))
	node, err := client.CoreV1().Nodes().Create(ctx, &want, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status = want.Status
	if _, err := client.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	holder := record(name, cc)
	renewed := nodeLease(name, time.Now().Add(time.Hour)) // however long the test takes
	for _, lease := range []coordinationv1.Lease{holder, renewed} {
		if _, err := client.CoordinationV1().Leases(lease.Namespace).Create(ctx, &lease, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e := nodeEvent(name, "Rebooted", time.Now())
	e.Name, e.Namespace, e.ResourceVersion = "reboot-"+name, "shop", ""
	if _, err := client.CoreV1().Events("shop").Create(ctx, &e, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestFleetOfARealCluster reads a fleet from a real API server, with the commands that an operator
// types, and page after page.
func TestFleetOfARealCluster(t *testing.T) {
	client, kubeconfig := startAPIServer(t)
	ctx := t.Context()
	for _, name := range []string{"edgekit-system", "kube-node-lease", "shop"} {
		if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "exists") {
			t.Fatal(err)
		}
	}
	identities, err := nodeidentity.New(nodeidentity.Config{Client: client, Namespace: "edgekit-system"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := identities.Claim(ctx, "edge-new", "hash"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		addNode(t, client, fmt.Sprintf("edge-%d", i), i != 0, "cc-a")
	}
	code, out, errs := edgectl(t, "--kubeconfig", kubeconfig, "status", "--output", "json")
	var got fleetStatus
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d, %v: %s %s", code, err, out, errs)
	}
	if got.Nodes.Total != 5 || got.Nodes.Connected != 4 || got.Nodes.Disconnected != 1 || got.Nodes.Unregistered != 1 || len(got.Cloudcores) != 1 || got.Cloudcores[0].Nodes != 5 || !got.Cloudcores[0].Running ||
		len(got.Problems) != 2 || got.Problems[0].Object != "node/edge-0" || len(got.Unknown) != 1 {
		t.Errorf("%+v", got)
	}
	if code, out, errs := edgectl(t, "--kubeconfig", kubeconfig, "status", "--exit-code"); code != 1 || !strings.HasPrefix(out, "SEVERITY") || !strings.Contains(errs, "1 problems") {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
	if code, out, errs := edgectl(t, "--kubeconfig", kubeconfig, "describe", "node", "edge-0"); code != 0 || !strings.Contains(out, "away Disconnected") || !strings.Contains(out, "cc-a") {
		t.Errorf("exit %d: %s %s", code, out, errs)
	}
	if code, out, errs := edgectl(t, "--kubeconfig", kubeconfig, "events", "--node", "edge-1", "--output", "name"); code != 0 || out != "Pod/web\n" {
		t.Errorf("exit %d: %q %s", code, out, errs)
	}
	if code, out, errs := edgectl(t, "--kubeconfig", kubeconfig, "node", "list", "-o", "name", "--no-headers"); code != 0 || out != "node/edge-new\n" {
		t.Errorf("exit %d: %q %s", code, out, errs)
	}
	f, err := newFleet(&rest.Config{Host: hostOf(t, kubeconfig), BearerToken: "admin-token", TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}, "edgekit-system")
	if err != nil {
		t.Fatal(err)
	}
	f.page = 2
	seen := make(map[string]bool)
	if err := f.nodes(ctx, nil, func(n fleetNode) {
		seen[n.name] = n.link == corev1.ConditionTrue || n.reason == nodelifecycle.ReasonDisconnected
	}); err != nil || len(seen) != 5 || !seen["edge-4"] || !seen["edge-0"] {
		t.Errorf("%v, in pages of two: %v", err, seen)
	}
}

func hostOf(t *testing.T, kubeconfig string) string {
	t.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Host
}
