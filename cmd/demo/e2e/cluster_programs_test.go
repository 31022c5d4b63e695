package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// all are the programs, in the order in which they are looked at. Those that keep others going
// come first.
func (c *clusterTest) all() []program {
	both := func(f func(ctx context.Context, node string) (string, error)) look {
		return func(ctx context.Context) (string, error) {
			if _, err := f(ctx, tour.Node); err != nil {
				return "", fmt.Errorf("%s: %w", tour.Node, err)
			}
			return f(ctx, secondNode)
		}
	}
	on := func(f func(ctx context.Context, node string) (string, error)) look {
		return func(ctx context.Context) (string, error) { return f(ctx, secondNode) }
	}
	return []program{
		{"kube-proxy (real)", both(c.serviceAnswers), c.serviceLocal, both(c.serviceAnswers)},
		{"CoreDNS (real)", c.names, c.names, c.names},
		{"node-exporter (real)", both(c.hostMetrics), on(c.hostMetrics), nil},
		{"fluent-bit", both(c.logsRead), on(c.logsRead), nil},
		{"kube-state-metrics", c.wholeState, c.partOfState, c.wholeState},
		{"Prometheus, service discovery (real)", c.targetsUp, c.localTargets, c.targetsUp},
		{"metrics-server", c.measured, c.measuredOffline, c.measured},
		{"operator, leader election", c.answers, c.leaderMoves, c.answers},
		{"ingress controller", both(c.routed), on(c.routedLocally), both(c.routed)},
		{"StatefulSet on local-path (real)", c.rows, c.rows, c.volumeKept},
		{"Kubernetes' DRA test driver (real)", c.hasClaim, c.preparedOffline(), c.hasClaim},
	}
}

// serviceAnswers asks the Service by its address until both pods have answered.
func (c *clusterTest) serviceAnswers(ctx context.Context, node string) (string, error) {
	pods, err := c.askService(ctx, node)
	if err == nil && len(pods) != 2 {
		err = fmt.Errorf("only %q answered", pods)
	}
	return "the Service's address leads to the pods of both nodes", err
}

func (c *clusterTest) serviceLocal(ctx context.Context) (string, error) {
	pods, err := c.askService(ctx, secondNode)
	if len(pods) == 0 {
		return "", err
	}
	return fmt.Sprintf("leads to the endpoints that the node knows: of the 2 pods %d answer, and connections to those of the other node fail", len(pods)), nil
}

// askService returns which pods answered a dozen requests to the Service.
func (c *clusterTest) askService(ctx context.Context, node string) ([]string, error) {
	names := make(map[string]bool)
	var failed error
	for range 12 {
		page, err := c.fetch(ctx, node, "", net.JoinHostPort(webIP, "80"), "/")
		if err != nil {
			failed = err
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(page, "pod "), ",")
		names[strings.TrimSpace(name)] = true
	}
	if len(names) == 0 {
		return nil, failed
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// names looks a Service up at the Service of the DNS, in the network of the second node.
func (c *clusterTest) names(ctx context.Context) (string, error) {
	dns := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return c.second.Network().DialContext(ctx, network, net.JoinHostPort(dnsIP, "53"))
	}}
	got, err := dns.LookupHost(ctx, "web."+clusterNamespace+".svc.cluster.local.")
	if err == nil && !slices.Contains(got, webIP) {
		err = fmt.Errorf("web is %q", got)
	}
	return "resolves the Services, by its own Service's address", err
}

func (c *clusterTest) hostMetrics(ctx context.Context, node string) (string, error) {
	pod, err := c.podOn(ctx, "node-exporter", node)
	if err != nil {
		return "", err
	}
	text, err := c.fetch(ctx, node, "", net.JoinHostPort(pod.Status.PodIP, "9100"), "/metrics")
	if err != nil {
		return "", err
	}
	for _, want := range []string{"node_cpu_seconds_total", "node_filesystem_size_bytes", `node_network_receive_bytes_total{device="eth0"}`, "node_procs_running"} {
		if !strings.Contains(text, want) {
			return "", fmt.Errorf("%s is missing in %.300s", want, text)
		}
	}
	return "serves the host's processors, disks and links", nil
}

// logsRead checks that the records of the database's pod are read and have its labels.
func (c *clusterTest) logsRead(ctx context.Context, node string) (string, error) {
	var f struct {
		Last string `json:"last error"`
		Pods map[string]struct {
			Records int
			Labels  string
		}
	}
	if err := c.facts(ctx, "fluent-bit", node, &f); err != nil {
		return "", err
	}
	for name, p := range f.Pods {
		if strings.HasPrefix(name, clusterNamespace+"/web-") && p.Records > 0 && p.Labels == "web@"+node {
			return fmt.Sprintf("reads /var/log/containers and has each pod's labels (%d pods)", len(f.Pods)), nil
		}
	}
	return "", fmt.Errorf("of %d pods none is web with records and labels; last error %q: %v", len(f.Pods), f.Last, f.Pods)
}

// state is what kube-state-metrics has.
type state struct {
	Objects map[string]int
	Nodes   map[string]int `json:"pods by node"`
	Kinds   int
}

func (c *clusterTest) wholeState(ctx context.Context) (string, error) {
	var f state
	if err := c.facts(ctx, "kube-state-metrics", secondNode, &f); err != nil {
		return "", err
	}
	pods, err := c.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	if len(f.Objects) != f.Kinds || f.Objects["pods"] != len(pods.Items) || f.Nodes[tour.Node] == 0 || f.Objects["nodes"] != 2 || f.Objects["deployments"] == 0 {
		return "", fmt.Errorf("it has %v of %d kinds, pods by node %v; the cluster has %d pods", f.Objects, f.Kinds, f.Nodes, len(pods.Items))
	}
	return fmt.Sprintf("has all objects of the cluster: %d kinds, %d pods", f.Kinds, f.Objects["pods"]), nil
}

func (c *clusterTest) partOfState(ctx context.Context) (string, error) {
	var f state
	if err := c.facts(ctx, "kube-state-metrics", secondNode, &f); err != nil {
		return "", err
	}
	if f.Nodes[secondNode] == 0 {
		return "", fmt.Errorf("it has %v, pods by node %v", f.Objects, f.Nodes)
	}
	return fmt.Sprintf("has what the node has: %d pods of its own, %d of the other node", f.Nodes[secondNode], f.Nodes[tour.Node]), nil
}

// targets returns the targets of Prometheus, by what they say.
func (c *clusterTest) targets(ctx context.Context) (up, down []string, err error) {
	pod, err := c.podOn(ctx, "prometheus", secondNode)
	if err != nil {
		return nil, nil, err
	}
	text, err := c.fetch(ctx, secondNode, "", net.JoinHostPort(pod.Status.PodIP, "9090"), "/api/v1/targets?state=active")
	if err != nil {
		return nil, nil, errors.Join(err, restartsOf(pod))
	}
	var answer struct {
		Data struct {
			ActiveTargets []struct{ ScrapeURL, Health, LastError string }
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		return nil, nil, err
	}
	for _, target := range answer.Data.ActiveTargets {
		switch target.Health {
		case "up":
			up = append(up, target.ScrapeURL)
		default:
			down = append(down, target.ScrapeURL+" "+target.Health+" "+target.LastError)
		}
	}
	return up, down, nil
}

func (c *clusterTest) targetsUp(ctx context.Context) (string, error) {
	up, down, err := c.targets(ctx)
	if err == nil && (len(up) != 3 || len(down) != 0) {
		err = fmt.Errorf("up %q, down %q", up, down)
	}
	return "finds and scrapes node-exporter on both nodes and kube-state-metrics", err
}

func (c *clusterTest) localTargets(ctx context.Context) (string, error) {
	up, down, err := c.targets(ctx)
	if err == nil && (len(up) != 2 || len(down) > 1) {
		err = fmt.Errorf("up %q, down %q", up, down)
	}
	return fmt.Sprintf("scrapes the %d targets of its own node; %d of the other is down", len(up), len(down)), err
}

func (c *clusterTest) metrics(ctx context.Context) (map[string]string, error) {
	var f struct{ Measured map[string]string }
	err := c.facts(ctx, "metrics-server", secondNode, &f)
	return f.Measured, err
}

func (c *clusterTest) measured(ctx context.Context) (string, error) {
	got, err := c.metrics(ctx)
	if err != nil {
		return "", err
	}
	for _, node := range []string{tour.Node, secondNode} {
		if text := got[node]; text == "" || strings.HasPrefix(text, "error") || text == "0 pods" {
			return "", fmt.Errorf("%q", got)
		}
	}
	return "has the metrics of all pods of both nodes", nil
}

func (c *clusterTest) measuredOffline(ctx context.Context) (string, error) {
	got, err := c.metrics(ctx)
	if err != nil {
		return "", err
	}
	failed := 0
	for _, text := range got {
		if strings.HasPrefix(text, "error") {
			failed++
		}
	}
	return fmt.Sprintf("runs; %d of %d kubelet endpoints do not answer, since they are at cloudcore", failed, len(got)), nil
}

// leader returns the operator's leader by its Lease.
func (c *clusterTest) leader(ctx context.Context) (*corev1.Pod, error) {
	lease, err := c.client.CoordinationV1().Leases(clusterNamespace).Get(ctx, "operator", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		return nil, errors.New("nobody leads")
	}
	return c.client.CoreV1().Pods(clusterNamespace).Get(ctx, *lease.Spec.HolderIdentity, metav1.GetOptions{})
}

// answers gives the operator an order and waits for the answer.
func (c *clusterTest) answers(ctx context.Context) (string, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return "", err
	}
	configMaps := c.client.CoreV1().ConfigMaps(clusterNamespace)
	order := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "order-", Labels: map[string]string{"kind": "order"}}}
	if order, err = configMaps.Create(ctx, order, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	return c.patient(ctx, func(ctx context.Context) (string, error) {
		answer, err := configMaps.Get(ctx, order.Name+"-answer", metav1.GetOptions{})
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("one of two leads (%s), and answers an order", leader.Spec.NodeName), sameLeader(leader.Name, answer.Data["by"])
	})
}

func sameLeader(want, got string) error {
	if want != got {
		return fmt.Errorf("%s leads and %s answered", want, got)
	}
	return nil
}

// leadOn has the operator on a node lead.
func (c *clusterTest) leadOn(ctx context.Context, node string) {
	c.t.Helper()
	c.until(ctx, func() error {
		leader, err := c.leader(ctx)
		if err != nil || leader.Spec.NodeName == node {
			return err
		}
		c.run(ctx, "", "-n", clusterNamespace, "delete", "pod", leader.Name, "--ignore-not-found", "--timeout=1m")
		return fmt.Errorf("%s on %s leads", leader.Name, leader.Spec.NodeName)
	})
	c.until(ctx, func() error {
		for _, at := range []string{tour.Node, secondNode} {
			pod, err := c.podOn(ctx, "operator", at)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(pod.Status.Conditions, func(p corev1.PodCondition) bool {
				return p.Type == corev1.PodReady && p.Status == corev1.ConditionTrue
			}) {
				return fmt.Errorf("%s is not ready", pod.Name)
			}
		}
		return nil
	})
}

// leaderMoves: the Lease is in the cloud. The operator on the node that is cut off led, and cannot
// renew it.
func (c *clusterTest) leaderMoves(ctx context.Context) (string, error) {
	leader, err := c.leader(ctx)
	if err != nil {
		return "", err
	}
	if leader.Spec.NodeName != tour.Node {
		return "", fmt.Errorf("%s on the node that is cut off still has the Lease", leader.Name)
	}
	var f struct{ Leader bool }
	if err := c.facts(ctx, "operator", secondNode, &f); err != nil {
		return "", err
	}
	if f.Leader {
		return "", errors.New("the operator on the node that is cut off still leads")
	}
	return "the leader cannot renew its Lease, ends, starts again and waits; the operator on the other node leads", nil
}

func (c *clusterTest) routed(ctx context.Context, node string) (string, error) {
	page, err := c.ingress(ctx, node)
	if err != nil {
		return "", err
	}
	in, err := c.client.NetworkingV1().Ingresses(clusterNamespace).Get(ctx, "web", metav1.GetOptions{})
	if err == nil && len(in.Status.LoadBalancer.Ingress) == 0 {
		err = fmt.Errorf("the Ingress has no address; the page is %q", page)
	}
	return "proxies by the Ingress and writes its address there", err
}

func (c *clusterTest) routedLocally(ctx context.Context, node string) (string, error) {
	_, err := c.ingress(ctx, node)
	return "proxies to the endpoints that the node knows", err
}

// ingress asks the port of the node for the Ingress' host.
func (c *clusterTest) ingress(ctx context.Context, node string) (string, error) {
	return c.fetch(ctx, node, "web.example.org", net.JoinHostPort(c.machine(node).Network().Node().String(), "8880"), "/")
}

// rows reads how many rows the database has written.
func (c *clusterTest) rows(ctx context.Context) (string, error) {
	var f struct {
		Written int
		Found   int
		Last    string `json:"last error"`
	}
	if err := c.facts(ctx, "database", secondNode, &f); err != nil {
		return "", err
	}
	if f.Written == 0 || f.Last != "" {
		return "", fmt.Errorf("%d rows written, %s", f.Written, f.Last)
	}
	return "writes to its volume", nil
}

// volumeKept deletes the database's pod: the next one finds the rows of the one before.
func (c *clusterTest) volumeKept(ctx context.Context) (string, error) {
	old, err := c.podOn(ctx, "database", secondNode)
	if err != nil {
		return "", err
	}
	c.run(ctx, "", "-n", clusterNamespace, "delete", "pod", old.Name, "--wait=true", "--timeout=50s")
	return c.patient(ctx, func(ctx context.Context) (string, error) {
		var f struct{ Found int }
		if err := c.facts(ctx, "database", secondNode, &f); err != nil {
			return "", err
		}
		if f.Found == 0 {
			return "", errors.New("the volume is empty")
		}
		return "a new pod finds the rows of the one before", nil
	})
}
