package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// nodeAPIAddress is where the node's own Kubernetes API listens, in its network.
const nodeAPIAddress = "127.0.0.1:6443"

// nodeAPI uses the node's own Kubernetes API by the stock kubectl, as the node's
// administrator and as a pod's service account: with the cloud, with all
// cloudcores away, and with them back.
func nodeAPI(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	k := newKube(t, s)
	restartEdge(ctx, t, s, "--local-api-listen", nodeAPIAddress)
	pod, err := s.WaitPod(ctx, tour.Namespace, tour.App, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	n := nodeKubectl{t: t, s: s}
	n.comes(ctx, "", "get pods -n "+tour.Namespace, pod.Name) // once the API listens: what the cloud says is of the run before
	n.wants(ctx, "", "get nodes", tour.Node)
	n.wants(ctx, "", "get namespaces", tour.Namespace)
	n.wants(ctx, "", "logs -n "+tour.Namespace+" --tail=1 "+pod.Name, "")
	n.wants(ctx, "", "create namespace never", "cannot create resource")

	// A write goes to the cloud, and what the cloud then has comes back as a
	// watch tells.
	labels := n.watch(ctx, "get", "node", tour.Node, "-w", "--no-headers", "-o", "custom-columns=SHIFT:.metadata.labels.shift")
	labels("<none>")
	n.wants(ctx, "", "label node "+tour.Node+" shift=early", "labeled")
	labels("early")
	k.run(ctx, "", "label", "node", tour.Node, "shift=late", "--overwrite")
	labels("late")

	const manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: from-edge, namespace: " + tour.Namespace + "}\ndata: {count: \"%d\"}\n"
	n.token = strings.TrimSpace(k.run(ctx, "", "-n", tour.Namespace, "create", "token", "default",
		"--bound-object-kind=Pod", "--bound-object-name="+pod.Name, "--bound-object-uid="+string(pod.UID)))
	n.wants(ctx, fmt.Sprintf(manifest, 1), "apply -f -", "forbidden")
	k.run(ctx, "", "-n", tour.Namespace, "create", "role", "clerk", "--verb=get,list,watch,create,patch", "--resource=configmaps,pods")
	k.run(ctx, "", "-n", tour.Namespace, "create", "rolebinding", "clerk", "--role=clerk", "--serviceaccount="+tour.Namespace+":default")
	n.comes(ctx, "", "get pods -n "+tour.Namespace, pod.Name) // once the rules have come down
	n.wants(ctx, fmt.Sprintf(manifest, 1), "apply -f -", "configmap/from-edge created")
	n.wants(ctx, fmt.Sprintf(manifest, 2), "apply -f -", "configmap/from-edge configured")
	n.wants(ctx, "", "get configmap from-edge -n "+tour.Namespace+" -o jsonpath={.data.count}", "2")
	n.wants(ctx, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: odd, namespace: "+tour.Namespace+"}\ndate: {}\n", "apply -f -", `unknown field "date"`)
	if got := k.run(ctx, "", "-n", tour.Namespace, "get", "configmap", "from-edge", "-o", "jsonpath={.data.count}"); got != "2" {
		t.Errorf("the cloud has %q", got)
	}

	if err := s.StopCloud(ctx); err != nil {
		t.Fatal(err)
	}
	n.comes(ctx, fmt.Sprintf(manifest, 3), "apply -f -", "out of reach")
	n.wants(ctx, fmt.Sprintf(manifest, 3), "apply -f -", "try again when the node is connected")
	n.wants(ctx, "", "get pods -n "+tour.Namespace, pod.Name)
	n.wants(ctx, "", "get secrets -n "+tour.Namespace, "forbidden")
	k.run(ctx, "", "label", "node", tour.Node, "shift=night", "--overwrite")
	n.token = ""
	n.wants(ctx, "", "get node "+tour.Node+" -o jsonpath={.metadata.labels.shift}", "late")
	if err := s.StartCloud(ctx); err != nil {
		t.Fatal(err)
	}
	labels("night")
	n.comes(ctx, "", "label node "+tour.Node+" shift-", "unlabeled")
	restartEdge(ctx, t, s)
}

// restartEdge has edgecore run with further arguments.
func restartEdge(ctx context.Context, t *testing.T, s *site.Site, args ...string) {
	t.Helper()
	if err := s.StopEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.StartEdge(tour.Node, args...); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, linked)
}

// nodeKubectl is kubectl on the node, at the node's own API.
type nodeKubectl struct {
	t     *testing.T
	s     *site.Site
	token string // who asks; the node's administrator if it is empty
}

func (n nodeKubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	who := []string{"--kubeconfig=" + filepath.Join(n.s.DataDir(tour.Node), "api", "admin.kubeconfig")}
	if n.token != "" {
		who = []string{"--kubeconfig=/dev/null", "--server=https://" + nodeAPIAddress, "--insecure-skip-tls-verify", "--token=" + n.token}
	}
	return n.s.Network().Command(ctx, n.s.Kubectl(), slices.Concat([]string{"--cache-dir=" + n.t.TempDir()}, who, args)...)
}

// says runs kubectl and gives all that it printed.
func (n nodeKubectl) says(ctx context.Context, input, args string) string {
	cmd := n.command(ctx, strings.Fields(args)...)
	cmd.Stdin = strings.NewReader(input)
	out, _ := cmd.CombinedOutput() // what it printed tells
	return string(out)
}

func (n nodeKubectl) wants(ctx context.Context, input, args, want string) {
	n.t.Helper()
	if out := n.says(ctx, input, args); !strings.Contains(out, want) {
		n.t.Errorf("kubectl %s on the node: want %q in\n%s", args, want, out)
	}
}

// comes waits until kubectl prints what is wanted.
func (n nodeKubectl) comes(ctx context.Context, input, args, want string) {
	n.t.Helper()
	newKube(n.t, n.s).until(ctx, func() error {
		if out := n.says(ctx, input, args); !strings.Contains(out, want) {
			return fmt.Errorf("kubectl %s on the node: want %q in\n%s", args, want, out)
		}
		return nil
	})
}

// watch starts kubectl and gives a function that waits for a line.
func (n nodeKubectl) watch(ctx context.Context, args ...string) func(want string) {
	n.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	cmd := n.command(ctx, args...)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	lines := bufio.NewScanner(out)
	return func(want string) {
		n.t.Helper()
		for lines.Scan() {
			if strings.TrimSpace(lines.Text()) == want {
				return
			}
		}
		n.t.Fatalf("kubectl %s on the node ended before it printed %q", strings.Join(args, " "), want)
	}
}
