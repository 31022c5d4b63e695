package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/bundle"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// planted is in every secret that the tests plant.
const planted = "S3CR3T"

// leaky is text that a program might write, with secrets in the forms that they have.
const leaky = `time=2026-11-30T03:00:00Z level=WARN msg="a login failed" password=S3CR3Ta user=u
time=2026-11-30T03:00:00Z level=WARN msg="header Authorization: Bearer S3CR3Tbbbbbbb"
dial tcp://user:S3CR3Tc@broker:1883: refused
eyJhbGciOiJSUzI1NiJ9.eyJS3CR3TdIn0.S3CR3Te
-----BEGIN EC PRIVATE KEY-----
S3CR3Tf
-----END EC PRIVATE KEY-----
joined with edgekit.abcdefghij.S3CR3Tghijklmnop.sha256
{"client_secret":"S3CR3Th with \"quotes\" in it","apiKey": 'S3CR3Ti'}
exec: --password S3CR3Tj --token=S3CR3Tk
key = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
the end of the log
`

// plant fills a machine and its node's data folder with secrets.
func plant(t *testing.T, root, data string) {
	t.Helper()
	for name, text := range map[string]string{
		"identity/identity.pem": "S3CR3T", "meta.key": "S3CR3T", "meta/000001.sst": "S3CR3T", "api/authority.pem": "S3CR3T", "api/admin.kubeconfig": "token: S3CR3T",
		".bash_history": "edgecore join --token S3CR3T", "identity/cloud.json": `{"cloud":"cloud:10000","token":"S3CR3T"}`, "pods/uid/volumes/kubernetes.io~secret/db/password": "S3CR3T",
	} {
		writeFile(t, filepath.Join(data, name), text)
	}
	for name, text := range map[string]string{
		"etc/edgekit/edgecore.yaml":     "cloud: cloud:10000\nmqtt-broker: tcp://u:S3CR3T@h:1\nmqtt-password: S3CR3T\nmax-pods: 110\nlocal-api: true\nnode-labels: {a: S3CR3T}\nuser-pin: 5333738\n",
		"etc/edgekit/trust/key.pub":     "S3CR3T",
		"etc/cni/net.d/10-net.conflist": `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge","mtu":1400,"ipam":{"type":"host-local","subnet":"10.1.0.0/24"},"args":{"x":"S3CR3T"},"kubernetes":{"kubeconfig":"S3CR3T"},"etcd_key":"S3CR3T","password":5333738}]}`,
		"etc/cni/net.d/20-net.conf":     `{"name": "S3CR3T is torn`,
		"etc/cni/net.d/key.pem":         "S3CR3T",
		"root/.bash_history":            "S3CR3T", "etc/shadow": "S3CR3T", "proc/cmdline": "S3CR3T", "proc/self/environ": "S3CR3T",
		"proc/self/mountinfo": "36 35 98:0 / /mnt rw - cifs //h/s rw,username=u,password=S3CR3Tm\n", "proc/meminfo": "MemTotal: 7 kB\n",
		"dev/kmsg": leaky, "sys/fs/pstore/dmesg-1": leaky, "etc/resolv.conf": "nameserver 10.0.0.1\n", "proc/sys/kernel/osrelease": "6.12.1\n",
		"sys/fs/cgroup/kubepods.slice/memory.max": "max\n",
	} {
		writeFile(t, filepath.Join(root, name), text)
	}
	if err := os.Symlink("key.pem", filepath.Join(root, "etc/cni/net.d/30-link.conf")); err != nil {
		t.Fatal(err)
	}
}

// leakyPods are pods with a secret wherever a user may write one.
func leakyPods() corev1.PodList {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Annotations: map[string]string{"last-applied": planted}}}
	c := corev1.Container{Name: "app", Image: "registry.example/app:1", Command: []string{"sh", "-c", planted}, Args: []string{"--x=" + planted}, Env: []corev1.EnvVar{{Name: "DB_PASSWORD", Value: planted}}}
	c.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{HTTPHeaders: []corev1.HTTPHeader{{Name: "X", Value: planted}}}}}
	c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{planted}}}}
	p.Spec.Containers = []corev1.Container{c}
	p.Spec.Volumes = []corev1.Volume{{Name: "db", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "d", VolumeAttributes: map[string]string{"k": planted}}}}}
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, Message: "password=" + planted, ContainerStatuses: []corev1.ContainerStatus{{Name: "app", RestartCount: 3, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "token=" + planted}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: planted}}}}}
	return corev1.PodList{Items: []corev1.Pod{p}}
}

// leakyNode answers what a node answers, with secrets in it.
func leakyNode(w http.ResponseWriter, r *http.Request) {
	state := goodStatus()
	state.Errors = strings.Split(leaky, "\n")
	node := edgeNode("edge-7", corev1.ConditionTrue, corev1.ConditionTrue, at(0))
	node.Annotations = map[string]string{"x": planted}
	e := nodeEvent("edge-7", "Failed", at(0))
	e.Message = "pull with password=" + planted
	var answer any
	switch path := strings.TrimPrefix(r.URL.Path, "/api/v1/nodes/edge-7/proxy"); path {
	case nodestate.Path:
		answer = state
	case nodestate.PathLog:
		_, _ = io.WriteString(w, leaky)
		return
	case nodestate.PathGoroutines:
		_, _ = io.WriteString(w, "goroutine 1 [running]:\n")
		return
	case "/metrics":
		_, _ = io.WriteString(w, "up 1\n")
		return
	case "/configz":
		answer = map[string]any{"edgecore": map[string]any{"Cloud": "cloud:10000", "MQTTBroker": "tcp://u:" + planted + "@h", "MaxPods": 110, "Headers": map[string]string{planted: "x"}, "List": []string{planted}, "LocalAPI": true}}
	case "/pods":
		answer = leakyPods()
	case "/api/v1/nodes/edge-7":
		answer = node
	case "/api/v1/events":
		answer = corev1.EventList{TypeMeta: metav1.TypeMeta{Kind: "EventList", APIVersion: "v1"}, Items: []corev1.Event{e}}
	default:
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// unpack reads a bundle and checks that nothing planted is in it.
func unpack(t *testing.T, archive io.Reader) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for in := tar.NewReader(zip); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || strings.Contains(h.Name, "..") || path.IsAbs(h.Name) {
			t.Errorf("entry %s of type %c", h.Name, h.Typeflag)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		files[name] = string(text)
		for _, secret := range []string{planted, "5333738", "00112233445566778899"} {
			if i := bytes.Index(text, []byte(secret)); i >= 0 {
				t.Errorf("%s has a secret: %.200s", name, text[max(i-80, 0):])
			}
		}
	}
	return files
}

// TestBundleHasNoSecrets plants a secret in every place that a bundle is made from, and in those
// that it must not read, and looks for them in the archive: with edgecore running, and stopped.
func TestBundleHasNoSecrets(t *testing.T) {
	for _, running := range []bool{true, false} {
		root := t.TempDir()
		if running {
			serveNode(t, leakyNode)
		} else {
			t.Chdir(t.TempDir())
		}
		plant(t, root, ".")
		command := &debugBundle{DataDir: "."}
		_, sources, err := command.localSources(hostRoot{root}, at(0))
		if err != nil {
			t.Fatal(err)
		}
		var archive bytes.Buffer
		m, err := bundle.Write(t.Context(), &archive, bundle.Manifest{Node: "edge-7"}, sources)
		if err != nil {
			t.Fatal(err)
		}
		files := unpack(t, &archive)
		want := map[string]string{
			"manifest.json": "DebugBundle", "versions.json": "6.12.1", "status.json": `"running"`, "system/kernel.txt": "the end of the log", "crash/dmesg-1": "the end of the log",
			"data-dir.txt": "identity.pem", "edgecore/config.json": `"cloud": "cloud:10000"`, "cni/10-net.conflist.json": "10.1.0.0/24", "system/resolv.conf": "10.0.0.1", "system/pod-cgroups.txt": "memory.max=max",
			"system/mounts.txt": "username=u",
		}
		if running {
			for name, text := range map[string]string{
				"edgecore/log.txt": "the end of the log", "edgecore/goroutines.txt": "goroutine 1", "edgecore/settings.json": `"MaxPods": 110`, "pods.json": "DB_PASSWORD", "node.json": "edgekit-v1.2.3",
				"events.json": "pull with", "edgecore/metrics.txt": "up 1",
			} {
				want[name] = text
			}
		}
		for name, text := range want {
			if !strings.Contains(files[name], text) {
				t.Errorf("running %t: %s has no %q: %.300s", running, name, text, files[name])
			}
		}
		for _, e := range m.Entries {
			if (e.Error == "") != (files[e.Name] != "") && e.Bytes > 0 {
				t.Errorf("%+v", e)
			}
		}
		if !running && !strings.Contains(files["manifest.json"], "edgecore") {
			t.Errorf("the manifest does not say what is missing: %s", files["manifest.json"])
		}
	}
}

// TestBundleOfNode: a connected node is asked through the API server.
func TestBundleOfNode(t *testing.T) {
	f := fleetFor(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") || !strings.HasPrefix(r.URL.Path, "/api/v1/nodes/edge-7/proxy/") && r.URL.Path != "/api/v1/nodes/edge-7" {
			http.NotFound(w, r)
			return
		}
		leakyNode(w, r)
	}), 2)
	var archive bytes.Buffer
	if _, err := bundle.Write(t.Context(), &archive, bundle.Manifest{Node: "edge-7"}, fleetSources(f, &cli{Namespace: "edgekit-system"}, "edge-7", at(0))); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, &archive)
	for name, text := range map[string]string{"edgecore/log.txt": "the end of the log", "pods.json": "DB_PASSWORD", "node.json": "edgekit-v1.2.3", "edgecore/goroutines.txt": "goroutine 1", "status.json": "containerd"} {
		if !strings.Contains(files[name], text) {
			t.Errorf("%s has no %q: %.300s", name, text, files[name])
		}
	}
}

// TestBundleCommand: the list comes first; the file is its owner's and is there only when whole.
func TestBundleCommand(t *testing.T) {
	t.Chdir(t.TempDir())
	var out strings.Builder
	command := &debugBundle{DataDir: ".", File: "b.tar.gz", List: true}
	if err := command.Run(t.Context(), &cli{}, program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "journal.txt") {
		t.Errorf("%v\n%s", err, out.String())
	}
	if _, err := os.Stat("b.tar.gz"); err == nil {
		t.Error("--list writes a bundle")
	}
	command.List = false
	if err := command.Run(t.Context(), &cli{}, program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "b.tar.gz: ") {
		t.Errorf("%v\n%s", err, out.String())
	}
	info, err := os.Stat("b.tar.gz")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if rest, err := os.ReadDir("."); err != nil || len(rest) != 1 {
		t.Errorf("%v is left behind, %v", rest, err)
	}
	command.File = "no/such/folder/b.tar.gz"
	if _, isUsage := errors.AsType[*program.UsageError](command.Run(t.Context(), &cli{}, program.Output{Writer: &out})); !isUsage {
		t.Error("no error that names the flag")
	}
}
