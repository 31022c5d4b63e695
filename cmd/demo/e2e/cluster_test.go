package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed cluster.yaml
var clusterYAML string

const (
	secondNode       = "edge-2"
	clusterNamespace = "cluster"
	dnsIP            = "10.215.0.10"
	webIP            = "10.215.0.80"
)

// TestCluster is "make e2e-cluster": the programs that clusters commonly run, on two edge nodes.
// Each does its job; then the second node is cut off, and what each does there is written down.
func TestCluster(t *testing.T) {
	if os.Getenv("CLUSTER") == "" {
		t.Skip("CLUSTER is not set: make e2e-cluster")
	}
	c := newClusterTest(t)
	c.judge(within(t, 30*time.Minute), "online", func(p program) look { return p.online })
	c.cutOff(within(t, 30*time.Minute))
	t.Logf("What each program does:\n\n%s", c.table())
	t.Logf("RESULT cluster_passed %d count", c.passed)
	t.Logf("RESULT cluster_failed %d count", c.failed)
}

// look finds out whether a program does its job, and says what it saw.
type look func(ctx context.Context) (string, error)

// program is one of the programs of the test.
type program struct {
	name string
	// online is the look while both nodes have a link, offline that on the second node while it
	// is cut off, and back the one after that; nil has none.
	online, offline, back look
}

// clusterTest is two edge nodes with those programs.
type clusterTest struct {
	kube
	second   *site.Site
	client   kubernetes.Interface
	programs []program

	passed, failed int
	saw            map[string]map[string]string // by program and phase
}

// newClusterTest brings the cluster up and deploys everything.
func newClusterTest(t *testing.T) *clusterTest {
	t.Helper()
	s := siteAfter(t, 2)
	c := &clusterTest{kube: newKube(t, s), saw: make(map[string]map[string]string)}
	ctx := within(t, 30*time.Minute)
	t.Cleanup(c.removeClaimFiles)
	stock := []string{"kube-proxy", "coredns", "local-path-provisioner", "node_exporter", "dra-test-driver"}
	c.must(s.BuildExtra(ctx, stock...))
	prometheus, err := prometheusTarget(s)
	c.must(err)
	c.must(gobuild.Build(ctx, testWriter{t}, prometheus))
	c.second = c.secondSite(ctx)
	c.client = clientset(t, s)
	standin := filepath.Join(s.Dir(), "bin", "standin")
	c.must(gobuild.Build(ctx, testWriter{t}, gobuild.Target{Module: filepath.Join(s.Repo(), "cmd", "demo"), Package: "./standin", Output: standin, Always: true}))
	for _, at := range []*site.Site{s, c.second} {
		c.must(at.ImportProgram(ctx, "edgekit.local/standin:1", standin))
		c.must(at.ImportProgram(ctx, "edgekit.local/prometheus:1", prometheus.Output))
		for _, name := range stock {
			c.must(at.ImportProgram(ctx, "edgekit.local/"+name+":1", s.Built(name)))
		}
	}
	c.join(ctx, s, tour.Node)
	c.join(ctx, c.second, secondNode)
	for _, node := range []string{tour.Node, secondNode} {
		c.run(ctx, "", "label", "node", node, "edgekit.node-restriction.kubernetes.io/services=all", "--overwrite")
	}
	manifest := filled(clusterYAML, "NODE1", tour.Node, "NODE2", secondNode, "DIR1", s.Dir(), "DIR2", c.second.Dir(), "DNS", dnsIP, "WEBIP", webIP,
		"REGISTRY2", pluginRegistry(c.second), "PLUGINS2", filepath.Join(c.second.Dir(), "plugins"))
	if !sharesMounts(t) {
		t.Log("the mounts of this machine are private, unlike those of one with systemd: node-exporter goes without mount propagation")
		manifest = strings.ReplaceAll(manifest, "mountPropagation: HostToContainer, ", "")
	}
	c.run(ctx, manifest, "apply", "-f", "-")
	c.programs = c.all()
	return c
}

// prometheusTarget is the Prometheus of the alerts' tests, which are a module of their own ("make monitoring").
func prometheusTarget(s *site.Site) (gobuild.Target, error) {
	const module, tags = "github.com/prometheus/prometheus", "remove_all_sd,enable_kubernetes_sd" // alertstest.Tags
	folder := filepath.Join(s.Repo(), "controller", "install", "monitoring", "alertstest")
	version, err := gobuild.Version(folder, module)
	if err != nil {
		return gobuild.Target{}, err
	}
	cache, err := os.UserCacheDir()
	return gobuild.Target{
		Module: folder, Package: module + "/cmd/prometheus", Tags: tags,
		Output: filepath.Join(cache, "edgekit", "bin", "prometheus-"+version, "prometheus"),
	}, err
}

// pluginRegistry is where the DRA driver of a machine registers.
func pluginRegistry(at *site.Site) string { return filepath.Join(at.Dir(), "plugins_registry") }

// sharesMounts reports whether the mounts of this machine are shared or slaves, as the runtime wants
// them for mount propagation.
func sharesMounts(t *testing.T) bool {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		f := strings.Fields(line)
		if len(f) > 6 && (f[4] == "/" || f[4] == "/sys") && !strings.HasPrefix(f[6], "shared:") && !strings.HasPrefix(f[6], "master:") {
			return false
		}
	}
	return true
}

// secondSite is a second machine of the same cluster: a network and a container runtime.
func (c *clusterTest) secondSite(ctx context.Context) *site.Site {
	c.t.Helper()
	second, err := site.New(site.Config{Dir: c.s.Dir() + "-2", Kubeconfig: c.s.Kubeconfig(), Out: testWriter{c.t}})
	c.must(err)
	down := func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.t.Context()), 2*time.Minute)
		defer cancel()
		if _, err := second.Down(ctx); err != nil {
			c.t.Errorf("remove the second machine: %v", err)
		}
	}
	down()
	c.t.Cleanup(down)
	_, err = second.Up(ctx)
	c.must(err)
	for _, at := range []*site.Site{c.s, second} {
		c.must(at.Network().Forward()) // pods of one node reach those of the other
	}
	c.must(second.Build(ctx))
	return second
}

// join makes a machine an edge node.
func (c *clusterTest) join(ctx context.Context, at *site.Site, node string) {
	c.t.Helper()
	token, err := c.s.Token(ctx, node)
	c.must(err)
	_, err = at.RunOnNode(ctx, "edgecore", "join", "--cloud", c.s.CloudAddress(), "--token", token, "--node", node, "--data-dir", at.DataDir(node))
	c.must(err)
	c.startEdge(at, node)
	c.until(ctx, func() error {
		var n corev1.Node
		if err := c.s.Kube().Get(ctx, &n, "node", node); err != nil {
			return err
		}
		if condition(&n, corev1.NodeReady) != corev1.ConditionTrue {
			return fmt.Errorf("node %s is not Ready", node)
		}
		return nil
	})
}

func (c *clusterTest) startEdge(at *site.Site, node string) {
	c.t.Helper()
	_, err := at.StartEdge(node, "--local-api-services", "--cluster-dns", dnsIP, "--plugin-registry-dir", pluginRegistry(at))
	c.must(err)
}

func (c *clusterTest) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// judge has every program looked at until its look succeeds, for some minutes each, and counts.
func (c *clusterTest) judge(ctx context.Context, phase string, of func(program) look) {
	c.t.Helper()
	for _, p := range c.programs {
		look := of(p)
		if look == nil {
			continue
		}
		saw, err := c.patient(ctx, look)
		if c.saw[p.name] == nil {
			c.saw[p.name] = make(map[string]string)
		}
		if err != nil {
			c.failed++
			c.saw[p.name][phase] = "FAILED: " + err.Error()
			c.t.Errorf("%s, %s: %v", p.name, phase, err)
			continue
		}
		c.passed++
		c.saw[p.name][phase] = saw
		c.t.Logf("%s, %s: %s", p.name, phase, saw)
	}
}

// patient repeats a look until it succeeds, for as long as a busy machine may need.
func (c *clusterTest) patient(ctx context.Context, look look) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var last error
	for {
		saw, err := look(ctx)
		if err == nil {
			return saw, nil
		}
		if last == nil || ctx.Err() == nil {
			last = err // a look that the end of the wait cut short says nothing
		}
		select {
		case <-ctx.Done():
			return "", last
		case <-tick.C:
		}
	}
}

// cutOff cuts the second node off, looks at what its programs do, and mends the cable.
func (c *clusterTest) cutOff(ctx context.Context) {
	c.t.Helper()
	c.awaitEndpoints(ctx, c.client, clusterNamespace, "web", 2)
	c.leadOn(ctx, secondNode)
	seen := watchReadiness(c.t, c.client, clusterNamespace)
	c.must(c.second.Network().Cut(ctx))
	c.untilNotReady(ctx, c.client, secondNode, clusterNamespace, "web", 1)
	c.judge(ctx, "cut off", func(p program) look { return p.offline })
	c.must(c.second.Network().Mend(ctx))
	c.awaitEndpoints(ctx, c.client, clusterNamespace, "web", 2)
	if gone := seen.deleted(); len(gone) > 0 {
		c.t.Errorf("deleted while the node was cut off: %q", gone)
	}
	c.judge(ctx, "back", func(p program) look { return p.back })
	pods, err := c.podsOf(ctx, "")
	c.must(err)
	for _, pod := range pods {
		if states := seen.of(pod.Name); pod.Labels["app"] == "web" && len(states) != map[string]int{tour.Node: 1, secondNode: 3}[pod.Spec.NodeName] {
			c.t.Errorf("the readiness of pod %s on %s was %q", pod.Name, pod.Spec.NodeName, states)
		}
	}
}

// table is the result as Markdown.
func (c *clusterTest) table() string {
	var b strings.Builder
	b.WriteString("| program | online | node cut off | link back |\n|---|---|---|---|\n")
	for _, p := range c.programs {
		row := c.saw[p.name]
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", p.name, row["online"], row["cut off"], row["back"])
	}
	return b.String()
}

// podsOf returns the pods of an app; of all for "".
func (c *clusterTest) podsOf(ctx context.Context, app string) ([]corev1.Pod, error) {
	var options metav1.ListOptions
	if app != "" {
		options.LabelSelector = "app=" + app
	}
	list, err := c.client.CoreV1().Pods(clusterNamespace).List(ctx, options)
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// podOn returns the pod of an app on a node, as the cloud knows it.
func (c *clusterTest) podOn(ctx context.Context, app, node string) (*corev1.Pod, error) {
	pods, err := c.podsOf(ctx, app)
	if err != nil {
		return nil, err
	}
	var why []string
	for _, pod := range pods {
		if pod.Spec.NodeName == node && pod.Status.PodIP != "" {
			return &pod, nil
		}
		text := pod.Name + " on " + pod.Spec.NodeName + " is " + string(pod.Status.Phase)
		for _, s := range pod.Status.ContainerStatuses {
			if s.State.Waiting != nil {
				text += ": " + s.State.Waiting.Reason + " " + s.State.Waiting.Message
			}
		}
		for _, cond := range pod.Status.Conditions {
			if cond.Status == corev1.ConditionFalse {
				text += "; " + cond.Message
			}
		}
		why = append(why, text)
	}
	return nil, fmt.Errorf("no pod of %s runs on %s: %q", app, node, why)
}

// machine is the machine of a node.
func (c *clusterTest) machine(node string) *site.Site {
	if node == secondNode {
		return c.second
	}
	return c.s
}

// fetch gets a page from inside a node's network.
func (c *clusterTest) fetch(ctx context.Context, node, host, address, path string) (string, error) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: c.machine(node).Network().DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s: %.200s", address, path, resp.Status, body)
	}
	return string(body), err
}

// facts reads what a stand-in has seen.
func (c *clusterTest) facts(ctx context.Context, app, node string, into any) error {
	pod, err := c.podOn(ctx, app, node)
	if err != nil {
		return err
	}
	port := "8080"
	if app == "claim-user" {
		port = "8097"
	}
	text, err := c.fetch(ctx, node, "", net.JoinHostPort(pod.Status.PodIP, port), "/state")
	if err != nil {
		return errors.Join(err, restartsOf(pod))
	}
	return json.Unmarshal([]byte(text), into)
}

// restartsOf explains why a container does not answer.
func restartsOf(pod *corev1.Pod) error {
	for _, s := range pod.Status.ContainerStatuses {
		if end := s.LastTerminationState.Terminated; s.RestartCount > 0 && end != nil {
			return fmt.Errorf("restarted %d times: %s %s", s.RestartCount, end.Reason, end.Message)
		}
	}
	return nil
}
