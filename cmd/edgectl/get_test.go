package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestPrintTop(t *testing.T) {
	at := func(second int64, cpu uint64) *statsapi.Summary {
		use := &statsapi.CPUStats{Time: metav1.NewTime(time.Unix(second, 0)), UsageCoreNanoSeconds: &cpu}
		memory := uint64(5 << 20)
		return &statsapi.Summary{
			Node: statsapi.NodeStats{NodeName: "gate-7", CPU: use},
			Pods: []statsapi.PodStats{{PodRef: statsapi.PodReference{Namespace: "ns", Name: "web", UID: "u"}, CPU: use, Memory: &statsapi.MemoryStats{WorkingSetBytes: &memory}}},
		}
	}
	var out strings.Builder
	if err := printTop(&out, at(10, 1e9), at(12, 2e9)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"gate-7   500m   unknown", "ns       web   500m     5Mi"} {
		if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestPath(t *testing.T) {
	for want, g := range map[string]getCmd{
		"/api/v1/namespaces/ns/pods":           {Resource: "po"},
		"/api/v1/pods":                         {Resource: "pods", objectFlags: objectFlags{All: true}},
		"/api/v1/nodes":                        {Resource: "node"},
		"/api/v1/nodes/gate-7":                 {Resource: "node", objectFlags: objectFlags{Name: "gate-7"}},
		"/api/v1/namespaces/ns/pods/web%2Flog": {Resource: "pods", objectFlags: objectFlags{Name: "web/log"}},
		"/apis/devices.kubeedge.io/v1beta1/namespaces/ns/devices": {Resource: "devices"},
		"/api/v1/namespaces/ns/..%2F..%2Fsecrets":                 {Resource: "../../secrets"},
	} {
		g.Space = "ns"
		if got := g.path(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// serveAPI serves the node's own API in the working folder, which is a new one, until the
// test ends.
func serveAPI(t *testing.T, handler http.HandlerFunc) {
	t.Helper()
	t.Chdir(t.TempDir()) // the path of a socket must be short
	if err := os.Mkdir("api", 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", "api/api.sock")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}

// TestDescribe: what a container and an event say cannot steer the terminal.
func TestDescribe(t *testing.T) {
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "Failed", Message: "\x1b[2J"}}}}
	events := metav1.Table{ColumnDefinitions: []metav1.TableColumnDefinition{{Name: "Message"}}, Rows: []metav1.TableRow{{Cells: []any{"\x1b]0;title\a"}}}}
	serveAPI(t, func(w http.ResponseWriter, r *http.Request) {
		var answer any = pod
		if strings.HasSuffix(r.URL.Path, "/events") {
			answer = events
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	})
	var out strings.Builder
	describe := describeCmd{Kind: "pod", Name: "web", Space: "default", scopeFlags: scopeFlags{DataDir: "."}}
	if err := describe.Run(t.Context(), &cli{}, program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`waits: Failed \x1b[2J`, `\x1b]0;title\a`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.ContainsAny(out.String(), "\x1b\a") {
		t.Errorf("control characters in %q", out.String())
	}
}
