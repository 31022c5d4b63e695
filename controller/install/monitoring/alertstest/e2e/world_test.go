package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// node is the name of the real node; second is that of another one, whose clock may be wrong.
const (
	node   = "edge-1"
	second = "edge-2"
)

// patience bounds the wait for one thing; a busy machine takes long to start a program.
const patience = 2 * time.Minute

// world is a real API server, a real cloudcore and a real edgecore whose data is on a small disk of its own.
type world struct {
	api                   *apiservertest.Server
	clientCert, clientKey string // files of the API server's, as a client of kubelets
	client                kubernetes.Interface
	bin                   string
	cloudcore             *program
	edgecore              *program
	runtime               *runtimetest.Runtime // edgecore's
	mqtt                  string               // edgecore's broker
	second                *program             // the edgecore of the second node
	artifacts             *hangingServer       // where the second node fetches its program
	cloudAt               string               // where nodes connect
	cloudSees             string               // cloudcore's metrics
	edgeSees, secondSees  string               // metrics of the edgecores
	disk                  string               // the folder of edgecore's disk
	logs                  string               // the folder of logs of pods
}

func newWorld(t *testing.T) *world {
	t.Helper()
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		t.Skip("edgecore needs root on Linux")
	}
	cert, key := kubeletClient(t)
	w := &world{
		clientCert: cert, clientKey: key,
		api: apiservertest.Start(t, "--kubelet-client-certificate="+cert, "--kubelet-client-key="+key),
		bin: buildPrograms(t), cloudAt: freeAddress(t), cloudSees: freeAddress(t), edgeSees: freeAddress(t), secondSees: freeAddress(t),
		mqtt: freeAddress(t), disk: smallDisk(t), runtime: runtimetest.New(), artifacts: newHangingServer(t),
	}
	var err error
	if w.client, err = kubernetes.NewForConfig(w.api.Admin); err != nil {
		t.Fatal(err)
	}
	if err := install.Ensure(t.Context(), install.Config{REST: w.api.Admin}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}, AutomountServiceAccountToken: new(false)}
	if _, err := w.client.CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	w.cloudcore = newProgram(t, filepath.Join(w.bin, "cloudcore"), map[string]string{
		"kubeconfig": w.api.Kubeconfig(t), "listen": w.cloudAt, "advertise": w.cloudAt, "metrics-listen": w.cloudSees, "keepalive": "2s",
		"kubelet-ports": "33400-33415", "kubelet-client-ca": cert, "kubelet-sessions": "1", "log-level": "warn",
		"rules-local-targets": "true",
	})
	w.cloudcore.start(t)
	w.logs = filepath.Join(t.TempDir(), "pods-log")
	w.runtime.AddImage("registry.example/app:1")
	w.edgecore = w.newEdgecore(t, "edgecore", w.disk, w.edgeSees, w.runtime, map[string]string{"mqtt-listen": "tcp://" + w.mqtt, "pod-log-dir": w.logs})
	disk := t.TempDir()
	w.second = w.newEdgecore(t, "edgecore", disk, w.secondSees, runtimetest.New(), map[string]string{
		"pod-log-dir": filepath.Join(disk, "pods-log"), "upgrade-trust": trust(t), "upgrade-plain-http": w.artifacts.host,
	})
	w.join(t, node, w.disk)
	w.join(t, second, disk)
	w.edgecore.start(t)
	w.second.start(t)
	w.connected(t, node)
	w.connected(t, second)
	w.runPod(t)
	return w
}

// discovery scrapes the nodes that cloudcore names, through cloudcore, as the example scrape/http.yaml does.
// It comes less often than the others, and for one node: each scrape is a session of the one that cloudcore
// allows here.
func (w *world) discovery() map[string]any {
	return map[string]any{
		"job_name": "discovered", "scheme": "https", "scrape_interval": "3s", "scrape_timeout": "3s",
		"tls_config":      map[string]any{"cert_file": w.clientCert, "key_file": w.clientKey, "insecure_skip_verify": true},
		"http_sd_configs": []map[string]string{{"url": "http://" + w.cloudSees + "/sd", "refresh_interval": "1s"}},
		"relabel_configs": []map[string]any{
			{"source_labels": []string{"__meta_edgekit_node"}, "regex": node, "action": "keep"},
			{"source_labels": []string{"__meta_edgekit_node"}, "target_label": "node"},
		},
	}
}

// smallDisk mounts a disk of 256 MiB that lives as long as the test. The store is near full from 64 MiB on, and
// edgecore writes and reserves some 60 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256m,mode=0700"); err != nil {
		t.Skipf("no disk can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newEdgecore is an edgecore whose folders are in dir.
func (w *world) newEdgecore(t *testing.T, name, dir, metrics string, rt *runtimetest.Runtime, more map[string]string) *program {
	t.Helper()
	settings := map[string]string{
		"data-dir": filepath.Join(dir, "data"), "runtime-endpoint": critest.Serve(t, rt), "cgroup-driver": "cgroupfs", "cgroups-per-qos": "false",
		"enforce-node-allocatable": "none", "container-log-links": "", "mqtt-listen": "tcp://" + freeAddress(t),
		"local-api-listen": freeAddress(t), "device-plugin-dir": filepath.Join(dir, "dp"), "pod-resources-socket": filepath.Join(dir, "pr", "kubelet.sock"),
		"kernel-log": "", "eviction-hard": "", "rules-listen": freeAddress(t), "transport": "websocket", "metrics-listen": metrics, "log-level": "warn",
		"dmi-listen": "unix://" + filepath.Join(dir, "dmi.sock"),
	}
	maps.Copy(settings, more)
	return newProgram(t, filepath.Join(w.bin, name), settings)
}

// join makes a disk that of a node; it tries until cloudcore listens.
func (w *world) join(t *testing.T, node, disk string) {
	t.Helper()
	store, err := nodeidentity.New(nodeidentity.Config{Client: w.client})
	if err != nil {
		t.Fatal(err)
	}
	until(t, patience, func() string {
		conn, err := net.Dial("tcp", w.cloudAt)
		if err != nil {
			return "cloudcore does not listen: " + err.Error()
		}
		return message(conn.Close())
	})
	token, err := store.CreateToken(t.Context(), node, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(w.bin, "edgecore"), "join", "--cloud", w.cloudAt, "--node", node, "--token", token.String(), "--data-dir", filepath.Join(disk, "data"))
	cmd.Env = append(os.Environ(), "TMPDIR="+disk)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("join: %v\n%s", err, out)
	}
}

// connected waits until a node is connected and ready.
func (w *world) connected(t *testing.T, node string) {
	t.Helper()
	until(t, patience, func() string {
		n, err := w.client.CoreV1().Nodes().Get(t.Context(), node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		is := make(map[corev1.NodeConditionType]corev1.ConditionStatus)
		for _, c := range n.Status.Conditions {
			is[c.Type] = c.Status
		}
		if is[corev1.NodeReady] != corev1.ConditionTrue || is["EdgeConnected"] != corev1.ConditionTrue {
			return fmt.Sprintf("node %s is %v", node, is)
		}
		return ""
	})
}

// runPod runs a pod on the node, with a log of one line.
func (w *world) runPod(t *testing.T) {
	t.Helper()
	pods := w.client.CoreV1().Pods("default")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.PodSpec{
			NodeName: node, AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{Name: "main", Image: "registry.example/app:1"}},
		},
	}
	if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, patience, func() string {
		p, err := pods.Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || p.Status.Phase != corev1.PodRunning {
			return fmt.Sprintf("the pod is %s (%v)", p.Status.Phase, err)
		}
		dirs, _ := filepath.Glob(filepath.Join(w.logs, "default_web_*", "main"))
		if len(dirs) != 1 {
			return "the folder of the container's log is not there"
		}
		return message(os.WriteFile(filepath.Join(dirs[0], "0.log"), []byte(time.Now().UTC().Format(time.RFC3339Nano)+" stdout F hello\n"), 0o600))
	})
}

// log opens the pod's log through the API server, cloudcore and the link.
func (w *world) log(ctx context.Context, follow bool) (io.ReadCloser, error) {
	return w.client.CoreV1().Pods("default").GetLogs("web", &corev1.PodLogOptions{Container: "main", Follow: follow}).Stream(ctx)
}

// metric reads one series of a program without Prometheus; "" while it does not answer.
func metric(t *testing.T, address, series string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body) // a part of it is not the series
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
