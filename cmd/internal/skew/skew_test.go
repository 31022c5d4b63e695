package skew

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

const root = "../../.."

// patience bounds the wait for one thing; a busy machine takes long to start a program.
const patience = 3 * time.Minute

// version is a build of both programs.
type version struct{ name, edgecore, cloudcore string }

// TestSkew has the programs of this tree work with those of each earlier version, both ways.
func TestSkew(t *testing.T) {
	if os.Getenv("SKEW") == "" {
		t.Skip("SKEW is not set: 'make skew' builds earlier versions, which takes minutes")
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("edgecore needs root on Linux")
	}
	text, err := os.ReadFile(filepath.Join(root, ".ci", "skew-versions"))
	if err != nil {
		t.Fatal(err)
	}
	this := build(t, "this", root)
	w := newWorld(t)
	for line := range strings.Lines(string(text)) {
		name, commit, _ := strings.Cut(strings.TrimSpace(line), " ")
		t.Run(name, func(t *testing.T) {
			if err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
				t.Skipf("commit %s of version %s is not in this clone: run 'git fetch --unshallow'", commit, name)
			}
			old := build(t, name, checkout(t, commit))
			t.Run("old edgecore", func(t *testing.T) { w.pair(t, this, old) })
			t.Run("old cloudcore", func(t *testing.T) { w.pair(t, old, this) })
			fmt.Printf("RESULT skew_%s_pairs 2\n", strings.ReplaceAll(name, "-", ""))
		})
	}
}

// checkout returns a folder with the tree of a commit.
func checkout(t *testing.T, commit string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	if out, err := exec.Command("git", "-C", root, "worktree", "add", "--detach", dir, commit).CombinedOutput(); err != nil {
		t.Fatalf("git worktree add: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("git", "-C", root, "worktree", "remove", "--force", dir).CombinedOutput(); err != nil {
			t.Errorf("git worktree remove: %v\n%s", err, out)
		}
	})
	return dir
}

func build(t *testing.T, name, tree string) version {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command("go", "build", "-o", out+"/", "./cmd/edgecore", "./cmd/cloudcore")
	cmd.Dir, cmd.Env = tree, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, text)
	}
	return version{name, filepath.Join(out, "edgecore"), filepath.Join(out, "cloudcore")}
}

// world is a cluster.
type world struct {
	kubeconfig string
	clientCA   string // file of the API server's certificate as a client of kubelets, its own authority
	client     kubernetes.Interface
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cert, key := clientCertificate(t)
	api := apiservertest.Start(t, "--kubelet-client-certificate="+cert, "--kubelet-client-key="+key)
	w := &world{kubeconfig: api.Kubeconfig(t), clientCA: cert}
	var err error
	if w.client, err = kubernetes.NewForConfig(api.Admin); err != nil {
		t.Fatal(err)
	}
	if err := install.Ensure(t.Context(), install.Config{REST: api.Admin}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}, AutomountServiceAccountToken: new(false)}
	if _, err := w.client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return w
}

// clientCertificate writes a certificate of an administrator that signs itself, and its key.
func clientCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"system:masters"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(crand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "client.crt"), filepath.Join(dir, "client.key")
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// freePort is a TCP port that is free now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts a program that lives as long as the test. Its settings are in the environment: a
// version that does not have one of them does not mind.
func start(t *testing.T, path string, settings map[string]string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // until the cleanup
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	cmd.Env = environ(path, settings)
	log, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(path)+".log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was interrupted
		log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("%s:\n%s", path, text[max(0, len(text)-4000):])
		}
	})
}

func environ(path string, settings map[string]string) []string {
	env := os.Environ()
	for name, value := range settings {
		env = append(env, strings.ToUpper(filepath.Base(path)+"_"+strings.ReplaceAll(name, "-", "_"))+"="+value)
	}
	return env
}

// until waits until cond returns "", which says what is wrong.
func until(t *testing.T, cond func() string) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		wrong := cond()
		if wrong == "" {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(wrong)
		}
	}
}

// pair has a node join, run a pod, report it, show its log and lose the pod.
func (w *world) pair(t *testing.T, cloud, edge version) {
	node := strings.ToLower(fmt.Sprintf("edge-%s-%s", strings.ReplaceAll(cloud.name+"-"+edge.name, " ", "-"), strings.ToLower(fmt.Sprint(rand.N(1<<20)))))
	address := freePort(t)
	first := 33000 + 16*rand.N(400)
	start(t, cloud.cloudcore, map[string]string{
		"kubeconfig": w.kubeconfig, "listen": address, "advertise": address, "metrics-listen": freePort(t), "keepalive": "5s",
		"kubelet-ports": fmt.Sprintf("%d-%d", first, first+15), "rules-off": "true",
		"kubelet-client-ca": w.clientCA,
	})
	dir := t.TempDir()
	w.join(t, edge, dir, address, node)
	logs := filepath.Join(dir, "pods-log")
	rt := runtimetest.New()
	rt.AddImage("registry.example/app:1")
	start(t, edge.edgecore, map[string]string{
		"data-dir": filepath.Join(dir, "data"), "runtime-endpoint": critest.Serve(t, rt), "cgroup-driver": "cgroupfs", "cgroups-per-qos": "false",
		"enforce-node-allocatable": "none", "pod-log-dir": logs, "container-log-links": "", "mqtt-listen": "tcp://" + freePort(t), "local-api": "false",
		"device-plugin-dir": filepath.Join(dir, "dp"), "pod-resources-socket": filepath.Join(dir, "pr", "kubelet.sock"), "kernel-log": "", "eviction-hard": "", "rules": "false", "rules-listen": freePort(t),
		"transport": "websocket",
	})
	ctx := t.Context()
	until(t, func() string {
		n, err := w.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		return notTrue(n, corev1.NodeReady, "EdgeConnected")
	})
	w.pod(t, node, logs)
}

// notTrue names the first condition of a Node that is not true.
func notTrue(n *corev1.Node, wanted ...corev1.NodeConditionType) string {
	for _, kind := range wanted {
		found := fmt.Sprintf("node %s has no condition %s", n.Name, kind)
		for _, c := range n.Status.Conditions {
			if c.Type == kind && c.Status == corev1.ConditionTrue {
				found = ""
			} else if c.Type == kind {
				found = fmt.Sprintf("node %s: %s is %s: %s", n.Name, kind, c.Status, c.Message)
			}
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// join makes a machine a node; it tries until cloudcore listens.
func (w *world) join(t *testing.T, edge version, dir, address, node string) {
	t.Helper()
	store, err := nodeidentity.New(nodeidentity.Config{Client: w.client})
	if err != nil {
		t.Fatal(err)
	}
	until(t, func() string {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return "cloudcore does not listen: " + err.Error()
		}
		return text(conn.Close())
	})
	token, err := store.CreateToken(t.Context(), node, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(edge.edgecore, "join", "--cloud", address, "--node", node, "--token", token.String(), "--data-dir", filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("join: %v\n%s", err, out)
	}
}

func text(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}

// pod runs a pod through its life.
func (w *world) pod(t *testing.T, node, logs string) {
	ctx := t.Context()
	pods := w.client.CoreV1().Pods("default")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: node},
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: new(false), TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{Name: "main", Image: "registry.example/app:1"}},
		},
	}
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func() string {
		p, err := pods.Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if p.Status.Phase != corev1.PodRunning || len(p.Status.ContainerStatuses) != 1 || !p.Status.ContainerStatuses[0].Ready {
			return fmt.Sprintf("pod is %s: %+v", p.Status.Phase, p.Status.ContainerStatuses)
		}
		return ""
	})
	w.log(t, node, logs)
	if err := pods.Delete(ctx, node, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, func() string {
		_, err := pods.Get(ctx, node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return ""
		}
		return fmt.Sprintf("the pod is still there: %v", err)
	})
}

// log writes a line into the container's log, as a runtime does, and reads it through the API
// server.
func (w *world) log(t *testing.T, name, logs string) {
	t.Helper()
	var dirs []string
	until(t, func() string {
		dirs, _ = filepath.Glob(filepath.Join(logs, "default_"+name+"_*", "main"))
		if len(dirs) != 1 {
			return fmt.Sprintf("the folder of the container's log is not there: %v", dirs)
		}
		return ""
	})
	if err := os.WriteFile(filepath.Join(dirs[0], "0.log"), []byte(time.Now().UTC().Format(time.RFC3339Nano)+" stdout F hello across versions\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, func() string {
		out, err := w.client.CoreV1().Pods("default").GetLogs(name, &corev1.PodLogOptions{Container: "main"}).DoRaw(t.Context())
		if err == nil && !strings.Contains(string(out), "hello across versions") {
			err = errors.New("the log is " + string(out))
		}
		return text(err)
	})
}
