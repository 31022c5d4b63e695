package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
)

// command runs edgectl with a line as a user types it.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := edgectl()
	p.ConfigFile, p.Stdout, p.Stderr = filepath.Join(t.TempDir(), "absent.yaml"), &out, &errs
	code = p.Run(t.Context(), args)
	return code, out.String(), errs.String()
}

// must is command for a line that must succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := command(t, args...)
	if code != 0 {
		t.Fatalf("edgectl %s: exit %d: %s\n%s", strings.Join(args, " "), code, errs, out)
	}
	return out
}

// refused is command for a line that must fail with a text.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	code, out, errs := command(t, args...)
	if code == 0 || !strings.Contains(errs, want) {
		t.Errorf("edgectl %s: exit %d, %q, want an error with %q\n%s", strings.Join(args, " "), code, errs, want, out)
	}
}

// TestDryRun has init and manifest print the same.
func TestDryRun(t *testing.T) {
	flags := []string{"--advertise-address", "edge.example.com", "--edgekit-version", "v1.0.0", "--set", "keepalive=1m", "--set", "rules-listen=:9443", "--replicas", "3"}
	dry := must(t, append([]string{"init", "--dry-run", "--impersonation=legacy"}, flags...)...)
	shown := must(t, append([]string{"manifest", "--impersonation=legacy"}, flags...)...)
	if dry != shown {
		t.Error("init --dry-run and manifest differ")
	}
	for _, want := range []string{"- edge.example.com:10000\n", "keepalive: 1m\n", "image: edgekit/cloudcore:v1.0.0\n", "replicas: 3\n", "edgekit:cloudcore-legacy", "kind: NetworkPolicy\n", "kind: PodDisruptionBudget\n"} {
		if !strings.Contains(dry, want) {
			t.Errorf("no %q", want)
		}
	}
	if rights := must(t, "manifest"); strings.Contains(rights, "kind: Deployment\n") || !strings.Contains(rights, "kind: ClusterRole\n") {
		t.Error("a manifest without --advertise-address is not that of the rights alone")
	}
	refused(t, "--advertise-address: give the address", "init", "--dry-run", "--impersonation=constrained")
	refused(t, "--rights-only: cannot be given", "init", "--rights-only", "--advertise-address", "a.example")
	refused(t, "development build", "manifest", "--advertise-address", "a.example")
	refused(t, "listen is decided", "manifest", "--advertise-address", "a.example", "--edgekit-version", "v1.0.0", "--set", "listen=:1")
	refused(t, "--manifests", "manifest", "--manifests", "/nonexistent")
}

// playDeployments makes each Deployment ready, as the cluster's controllers do, until the test
// ends.
func playDeployments(t *testing.T, client kubernetes.Interface) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	t.Cleanup(func() { cancel(); <-ended })
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			watch, err := client.AppsV1().Deployments(install.Namespace).Watch(ctx, metav1.ListOptions{})
			if err != nil {
				continue
			}
			for event := range watch.ResultChan() {
				d, ok := event.Object.(*appsv1.Deployment)
				if !ok || d.Status.ObservedGeneration == d.Generation {
					continue
				}
				d = d.DeepCopy()
				n := *d.Spec.Replicas
				d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
				_, _ = client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, d, metav1.UpdateOptions{}) // a conflict brings another event
			}
		}
	}()
}

// TestInit installs cloudcore in a real API server, again, and upgrades it.
func TestInit(t *testing.T) {
	server := apiservertest.Start(t)
	client, err := kubernetes.NewForConfig(server.Admin)
	if err != nil {
		t.Fatal(err)
	}
	playDeployments(t, client)
	cluster := []string{"--kubeconfig", server.Kubeconfig(t)}
	line := func(args ...string) []string { return slices.Concat(args, cluster) }
	install1 := line("init", "--advertise-address", "edge.example.com", "--edgekit-version", "v1.0.0", "--set", "keepalive=1m", "--timeout", "5m", "--service-type", "NodePort", "--node-port", "31000")

	out := must(t, install1...)
	for _, want := range []string{"preflight: Kubernetes v1.", "namespace/edgekit-system created", "deployment.apps/cloudcore created", "cloudcore: 2 of 2 pods are new, 2 ready", "nodes reach it at edge.example.com:10000", "port 31000 of the cluster's machines", "edgectl token create"} {
		if !strings.Contains(out, want) {
			t.Errorf("init: no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, "WARNING") {
		t.Errorf("a warning about old clusters with a new one:\n%s", out)
	}
	if out = must(t, install1...); strings.Contains(out, " created\n") || strings.Contains(out, " configured\n") || !strings.Contains(out, "deployment.apps/cloudcore unchanged") {
		t.Errorf("init again:\n%s", out)
	}
	if out = must(t, line("init", "--rights-only")...); !strings.Contains(out, "the cluster is ready for cloudcore") {
		t.Errorf("init --rights-only:\n%s", out)
	}

	out = must(t, line("upgrade", "cloud", "--plan", "--edgekit-version", "v1.1.0")...)
	for _, want := range []string{"image edgekit/cloudcore:v1.0.0 -> edgekit/cloudcore:v1.1.0", "deployment.apps/cloudcore configured", "-        image: edgekit/cloudcore:v1.0.0", "+        image: edgekit/cloudcore:v1.1.0", "service/cloudcore unchanged", "configmap/cloudcore unchanged"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan: no %q in\n%s", want, out)
		}
	}
	addNode(t, client, "old", "v1.37.2-edgekit-v1.0.3")
	addNode(t, client, "unknown", "v1.37.2-edgekit-devel")
	refused(t, "1 nodes have v1.0.3 (old), which is more than 2 minor versions from v1.3.0", line("upgrade", "cloud", "--edgekit-version", "v1.3.0")...)
	refused(t, "from v1.0.0 to v2.0.0 is more than 2 minor versions", line("upgrade", "cloud", "--edgekit-version", "v2.0.0")...)
	out = must(t, line("upgrade", "cloud", "--edgekit-version", "v1.2.0", "--set", "drain=1m")...)
	for _, want := range []string{"deployment.apps/cloudcore configured", "2 of 2 pods are new, 2 ready", "to go back: edgectl upgrade cloud --edgekit-version v1.0.0", "rollout undo deployment/cloudcore"} {
		if !strings.Contains(out, want) {
			t.Errorf("upgrade: no %q in\n%s", want, out)
		}
	}
	config, err := client.CoreV1().ConfigMaps(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil || !strings.Contains(config.Data["cloudcore.yaml"], "keepalive: 1m\n") || !strings.Contains(config.Data["cloudcore.yaml"], "drain: 1m\n") || !strings.Contains(config.Data["cloudcore.yaml"], "- edge.example.com:10000\n") {
		t.Errorf("settings after the upgrade: %v, %v", config.Data, err)
	}
	d, err := client.AppsV1().Deployments(install.Namespace).Get(t.Context(), install.Name, metav1.GetOptions{})
	if err != nil || *d.Spec.Template.Spec.TerminationGracePeriodSeconds != 95 {
		t.Errorf("grace period %v, %v", *d.Spec.Template.Spec.TerminationGracePeriodSeconds, err)
	}
}

func addNode(t *testing.T, client kubernetes.Interface, name, version string) {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"node-role.kubernetes.io/edge": ""}}}
	node, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	node.Status.NodeInfo.KubeletVersion = version
	if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestInitLocal writes the files of a cloudcore on this machine.
func TestInitLocal(t *testing.T) {
	dir := t.TempDir()
	args := []string{"init", "--local", "--local-dir", dir, "--advertise-address", "edge.example.com", "--edgekit-version", "v1.0.0", "--set", "keepalive=1m"}
	out := must(t, args...)
	file := filepath.Join(dir, "etc", "edgekit", "cloudcore.yaml")
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "keepalive: 1m\n") || !strings.Contains(string(text), "kubeconfig: /etc/edgekit/kubeconfig\n") {
		t.Errorf("%q, %v", text, err)
	}
	if !strings.Contains(out, file+" created") || !strings.Contains(out, "systemctl enable --now cloudcore") || !strings.Contains(out, "umask 027") {
		t.Errorf("output %q", out)
	}
	if out = must(t, args...); !strings.Contains(out, file+" unchanged") {
		t.Errorf("again: %q", out)
	}
}

func TestDiffLines(t *testing.T) {
	for name, test := range map[string]struct{ before, after, want string }{
		"same":    {"a\nb\n", "a\nb\n", ""},
		"changed": {"a\nb\nc\n", "a\nx\nc\n", " a|-b|+x"},
		"two":     {"a\nb\nc\nd\n", "a\nx\nc\ny\n", " a|-b|+x| c|-d|+y"},
		"added":   {"a\n", "a\nb\n", " a|+b"},
		"removed": {"a\nb\n", "b\n", "-a"},
	} {
		if have := strings.Join(diffLines(test.before, test.after), "|"); have != test.want {
			t.Errorf("%s: %q, want %q", name, have, test.want)
		}
	}
	if have := diffLines(strings.Repeat("a\n", 3000), strings.Repeat("b\n", 3000)); len(have) != 1 {
		t.Errorf("long texts: %d lines", len(have))
	}
}

func TestReleases(t *testing.T) {
	for text, ok := range map[string]bool{"v1.2.3": true, "v1.2.3-rc.1": true, "1.2.3": false, "devel": false, "v0.0.0-20260101000000-0123456789ab": false, "v1.2.3+dirty": false, "v1.2": false} {
		if _, err := parseRelease(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	a, b := release{minor: 3}, release{minor: 5}
	if a.apart(b) != 2 || b.apart(a) != 2 || a.apart(release{major: 1, minor: 3}) <= skew {
		t.Error("distances are wrong")
	}
}

// TestRolloutTrouble says why pods are not ready.
func TestRolloutTrouble(t *testing.T) {
	for want, pod := range map[string]corev1.PodStatus{
		"cloudcore: --keepalive: must be 1s to 10m": {ContainerStatuses: []corev1.ContainerStatus{{
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "cloudcore: --keepalive: must be 1s to 10m\n"}},
		}}},
		"ErrImagePull: not found": {ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "not found"}}}}},
		"Unschedulable: no node":  {Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "no node"}}},
		"":                        {},
	} {
		if have := trouble(&corev1.Pod{Status: pod}); have != want {
			t.Errorf("%q, want %q", have, want)
		}
	}
}
