package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/edgekit/edgekit/cmd/internal/nodestate"
)

// readmeCommands are the command lines of the README's examples.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	inside := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "```") {
			inside = strings.HasPrefix(line, "```sh")
		} else if inside && strings.HasPrefix(line, "edgectl ") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all
}

// TestReadmeCommands runs the commands of the section on troubleshooting, at a machine and with a
// cluster, and has each succeed. One that does not end is only parsed.
func TestReadmeCommands(t *testing.T) {
	commands := readmeCommands(t)
	if len(commands) < 15 {
		t.Fatalf("the README has %d commands", len(commands))
	}
	_, served := testFleet(t)
	served.lists["/api/v1/namespaces/edgekit-system/secrets"] = nil
	served.lists["/api/v1/events"] = []any{nodeEvent("edge-7", "Rebooted", at(0))}
	served.lists["/api/v1/pods"] = nil
	served.other["/version"] = map[string]string{"gitVersion": "v1.37.2"}
	served.other["/api/v1/nodes/edge-7"] = edgeNode("edge-7", corev1.ConditionTrue, corev1.ConditionTrue, at(0))
	served.other["/api/v1/nodes/edge-7/proxy"+nodestate.Path] = goodStatus()
	fleet := fleetFor(t, served, 2)
	serveNode(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/namespaces/shop/pods/web" {
			served.other[r.URL.Path] = corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
			served.ServeHTTP(w, r)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/shop/events") {
			served.other[r.URL.Path] = metav1.Table{}
			served.ServeHTTP(w, r)
			return
		}
		leakyNode(w, r)
	})
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["c"] = &clientcmdapi.Cluster{Server: fleet.client.CoreV1().RESTClient().Get().URL().Scheme + "://" + fleet.client.CoreV1().RESTClient().Get().URL().Host}
	cfg.Contexts["c"], cfg.CurrentContext = &clientcmdapi.Context{Cluster: "c"}, "c"
	kubeconfig, err := filepath.Abs("kubeconfig")
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.WriteToFile(*cfg, kubeconfig); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", kubeconfig)
	t.Setenv("EDGECTL_DATA_DIR", ".")
	for _, line := range commands {
		args := strings.Fields(line)[1:]
		if strings.Contains(line, "--watch") {
			args = append(args, "--help")
		}
		if code, out, errs := command(t, args...); code != 0 || out == "" {
			t.Errorf("%s: exit %d: %s%s", line, code, out, errs)
		}
	}
}

// TestExitCodes: 2 says that the command line is wrong, and what of it.
func TestExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	for line, want := range map[string]string{
		"status --local --fleet": "--local and --fleet can't be used together", "status --output xml": "--output must be one of", "status --local --limit -1": "--limit", "describe pod": "pod's name",
		"events --local --since=-1h": "--limit", "describe pod web --fleet": "kubectl describe pod web", "events --local --watch --output yaml": "--output",
	} {
		code, _, errs := command(t, append(strings.Fields(line), "--data-dir", ".")...)
		if code != 2 || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d: %s", line, code, errs)
		}
	}
	if code, _, errs := command(t, "events", "--local", "--data-dir", "."); code != 2 || !strings.Contains(errs, "start edgecore") {
		t.Errorf("exit %d: %s", code, errs)
	}
}
