package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/internal/simulate"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
)

// trio is three cloudcores before one real API server, and a fleet of light nodes at them.
type trio struct {
	t      *testing.T
	api    *apiservertest.Server
	client kubernetes.Interface
	args   []string
	clouds []*processtest.Process
	states []ChildState
	front  *balancer
	fleet  *simulate.Fleet
	// kubelets has the cloudcores serve the nodes' kubelet endpoints; nil: they serve none.
	kubelets *kubeletClient
	started  int
	stop     func() // ends the fleet
}

func newTrio(t *testing.T, args ...string) *trio {
	t.Helper()
	return newClouds(t, 3, nil, args...)
}

// newClouds starts so many cloudcores before a real API server, which reaches the nodes' kubelet
// endpoints as kubelets says.
func newClouds(t *testing.T, n int, kubelets *kubeletClient, args ...string) *trio {
	t.Helper()
	api := apiservertest.Start(t, append(kubelets.apiServer(), "--max-requests-inflight=3000", "--max-mutating-requests-inflight=1000")...)
	if err := install.Ensure(t.Context(), install.Config{REST: api.Admin}); err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(api.Admin)
	if err != nil {
		t.Fatal(err)
	}
	x := &trio{t: t, api: api, client: client, front: startBalancer(t), kubelets: kubelets}
	x.args = append([]string{"--kubeconfig", api.Kubeconfig(t), "--metrics-listen=", "--rules-off", "--console-listen=", "--advertise", "127.0.0.1:10000"}, args...)
	for range n {
		x.add()
	}
	x.balance()
	return x
}

// add starts one more cloudcore, with these flags besides.
func (x *trio) add(further ...string) {
	x.t.Helper()
	p, s := startChild(x.t, "127.0.0.1:0", slices.Concat(x.kubelets.cloudcore(x.started), x.args, further)...)
	x.started++
	x.clouds, x.states = append(x.clouds, p), append(x.states, s)
}

// balance has the balancer lead to all cloudcores.
func (x *trio) balance() {
	var all []string
	for _, s := range x.states {
		all = append(all, s.Address)
	}
	x.front.set(all...)
}

// remove forgets a cloudcore that has ended.
func (x *trio) remove(i int) {
	x.clouds, x.states = slices.Delete(x.clouds, i, i+1), slices.Delete(x.states, i, i+1)
	x.balance()
}

// connected counts the sessions of all cloudcores, and the nodes that have more than one.
func (x *trio) connected() (nodes int, doubled []string) {
	x.t.Helper()
	seen := make(map[string]bool)
	for _, p := range x.clouds {
		var names []string
		p.Call("Nodes", struct{}{}, &names)
		for _, n := range names {
			if seen[n] {
				doubled = append(doubled, n)
			}
			seen[n] = true
		}
	}
	return len(seen), doubled
}

// simulate runs a fleet until the test ends, and returns when all pods were reported.
func (x *trio) simulate(cfg simulate.Config) {
	x.t.Helper()
	cfg.REST = x.api.Admin
	fleet, err := simulate.New(cfg)
	if err != nil {
		x.t.Fatal(err)
	}
	x.fleet = fleet
	ctx, stop := context.WithCancel(context.WithoutCancel(x.t.Context()))
	var g errgroup.Group
	g.Go(func() error { return fleet.Run(ctx) })
	x.stop = sync.OnceFunc(func() {
		stop()
		if err := g.Wait(); err != nil {
			x.t.Error(err)
		}
	})
	x.t.Cleanup(x.stop)
	logged := time.Now()
	for want := uint64(cfg.Nodes * cfg.Pods); ; pause(200 * time.Millisecond) {
		s := fleet.Stats()
		if s.Failures > 0 {
			x.t.Fatalf("%s", s.Summary())
		}
		if s.PodStatus.Count >= want && s.Registered == cfg.Nodes && s.Connected == cfg.Nodes {
			return
		}
		if time.Since(logged) > 10*time.Second {
			logged = time.Now()
			x.t.Log(s.Progress())
		}
	}
}

// requests counts what the API server has answered so far, by verb and resource.
func (x *trio) requests() map[string]float64 {
	x.t.Helper()
	text, err := x.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	return sumMetrics(string(text), func(name, labels string) string {
		if name != "apiserver_request_total" {
			return ""
		}
		return label(labels, "verb") + " " + label(labels, "resource") + orSub(label(labels, "subresource"))
	})
}

func orSub(s string) string {
	if s == "" {
		return ""
	}
	return "/" + s
}

// label reads one label of a series.
func label(labels, name string) string {
	_, rest, ok := strings.Cut(","+labels, ","+name+`="`)
	if !ok {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// since is what was added to counts.
func since(before, after map[string]float64) map[string]float64 {
	out := make(map[string]float64)
	for k, v := range after {
		if d := v - before[k]; d > 0 {
			out[k] = d
		}
	}
	return out
}

// reads adds up reads and writes of counts.
func reads(counts map[string]float64) (reads, writes float64) {
	for k, v := range counts {
		switch verb, _, _ := strings.Cut(k, " "); verb {
		case "GET", "LIST", "WATCH":
			reads += v
		case "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION":
			writes += v
		}
	}
	return reads, writes
}

// most lists the largest counts.
func most(counts map[string]float64, n int) string {
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return int(counts[b] - counts[a]) })
	var out []string
	for _, k := range keys[:min(n, len(keys))] {
		out = append(out, fmt.Sprintf("%s %.0f", k, counts[k]))
	}
	return strings.Join(out, ", ")
}

// pause is the time between two looks at processes and a real API server.
func pause(d time.Duration) { <-time.After(d) }

// await waits until all nodes have exactly one session, and returns how long that took.
func (x *trio) await(nodes int, limit time.Duration) time.Duration {
	x.t.Helper()
	begun := time.Now()
	for {
		n, doubled := x.connected()
		if n == nodes && len(doubled) == 0 && x.fleet.Stats().Connected == nodes {
			return time.Since(begun)
		}
		if time.Since(begun) > limit {
			x.t.Fatalf("after %v, %d of %d nodes have a session, %d of them two; %s", limit, n, nodes, len(doubled), x.fleet.Stats().Summary())
		}
		pause(20 * time.Millisecond)
	}
}

// until waits for a condition for longer than tests usually do: a fleet on a busy machine takes its
// time.
func (x *trio) until(what string, ok func() bool) {
	x.t.Helper()
	for limit := time.Now().Add(time.Duration(number(x.t, "LIMIT", 240)) * time.Second); !ok(); pause(100 * time.Millisecond) {
		if time.Now().After(limit) {
			x.t.Fatalf("waited in vain: %s; %s", what, x.fleet.Stats().Progress())
		}
	}
}

// check holds what the API server has to what the nodes hold: every pod Running and Ready,
// every Node connected, each of them with one holder that lives.
func (x *trio) check(nodes, pods int) {
	x.t.Helper()
	x.until("everything is acknowledged", func() bool { return x.fleet.Pending() == 0 })
	ctx := x.t.Context()
	x.until("each pod is Running and Ready", func() bool { return x.readyPods(ctx) == nodes*pods })
	if s := x.fleet.Stats(); s.Pods != nodes*pods {
		x.t.Errorf("%d pods came to the nodes, want %d: one came twice or never", s.Pods, nodes*pods)
	}
	x.until("each node has a holder that lives and says that it is connected", func() bool { return x.held(ctx) == nodes })
}

// readyPods counts the pods that are Running and Ready; -1 if there are others, or none can be read.
func (x *trio) readyPods(ctx context.Context) int {
	list, err := x.client.CoreV1().Pods("edgekit-simulation").List(ctx, metav1.ListOptions{})
	if err != nil {
		x.t.Log(err)
		return -1
	}
	ready := 0
	for _, p := range list.Items {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue && p.Status.Phase == corev1.PodRunning {
				ready++
			}
		}
	}
	if ready < len(list.Items) {
		return -1
	}
	return ready
}

// unready counts the pods that are not Ready by the reason of that; "unknown" are those whose node has not
// reported them.
func (x *trio) unready(ctx context.Context) map[string]int {
	x.t.Helper()
	list, err := x.client.CoreV1().Pods("edgekit-simulation").List(ctx, metav1.ListOptions{})
	if err != nil {
		x.t.Fatal(err)
	}
	reasons := make(map[string]int)
	for _, p := range list.Items {
		reason, ready := "unknown", false
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				reason, ready = c.Reason, c.Status == corev1.ConditionTrue
			}
		}
		if !ready {
			reasons[reason]++
		}
	}
	return reasons
}

// held counts the nodes whose record names a cloudcore that runs and has the node's session, and
// whose Node says so.
func (x *trio) held(ctx context.Context) int {
	x.t.Helper()
	holders := make(map[string]string)
	for i, p := range x.clouds {
		var names []string
		p.Call("Nodes", struct{}{}, &names)
		for _, n := range names {
			holders[n] = x.states[i].ID
		}
	}
	records, err := x.client.CoordinationV1().Leases(install.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		x.t.Log(err)
		return -1
	}
	byName := make(map[string]*coordinationv1.Lease)
	for i := range records.Items {
		byName[records.Items[i].Name] = &records.Items[i]
	}
	list, err := x.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		x.t.Log(err)
		return -1
	}
	good := 0
	for _, n := range list.Items {
		record := byName["edgekit-node-"+n.Name]
		if record == nil || holders[n.Name] == "" || record.Annotations[nodelifecycle.HolderAnnotation] != holders[n.Name] {
			continue
		}
		for _, c := range n.Status.Conditions {
			if c.Type == nodelifecycle.ConditionConnected && c.Status == corev1.ConditionTrue {
				good++
			}
		}
	}
	return good
}

func number(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func result(name string, value float64, unit string) {
	fmt.Printf("RESULT %s %.4g %s\n", name, value, unit)
}

// TestKillAnyOfThree kills each of three cloudcores in turn, as a power cut would. The nodes that
// it held are served again by the others, nothing is lost and nothing is done twice.
func TestKillAnyOfThree(t *testing.T) {
	nodes, pods := number(t, "NODES", 60), 1 // 'make fleet' kills one of three with 1,000
	x := newTrio(t, "--no-quic")
	x.simulate(simulate.Config{Servers: []string{x.front.listener.Addr().String()}, Nodes: nodes, Pods: pods, Twins: 1, PodDelay: 10 * time.Millisecond, ReportInterval: 2 * time.Second})
	x.check(nodes, pods)
	for i := range 3 {
		var held []string
		x.clouds[0].Call("Nodes", struct{}{}, &held)
		x.fleet.ResetLatencies()
		x.clouds[0].Kill()
		x.remove(0)
		took := x.await(nodes, time.Minute)
		s := x.fleet.Stats().Reconnect
		t.Logf("kill %d: %d nodes were there; all have a session again after %v (reconnect p50 %v, p99 %v)", i+1, len(held), took.Round(time.Millisecond), s.P50, s.P99)
		if int(s.Count) != len(held) {
			t.Errorf("%d sessions began anew, want %d: only those of the cloudcore that was killed", s.Count, len(held))
		}
		x.add()
		x.balance()
		x.check(nodes, pods)
	}
}

// profile writes profiles of all cloudcores if PROFILE names a folder.
func (x *trio) profile(name string) {
	if dir := os.Getenv("PROFILE"); dir != "" {
		for i, p := range x.clouds {
			p.Call("Profile", filepath.Join(dir, fmt.Sprintf("%s-%d", name, i)), &struct{}{})
		}
	}
}

// TestRollingRestart replaces three cloudcores one after the other, as a rolling upgrade does, while
// programs read and write at the API server all the time. No call fails, no Node says that its
// link is down, every node moves once for each cloudcore that held it, and nothing is lost.
func TestRollingRestart(t *testing.T) {
	nodes, pods := number(t, "NODES", 30), 1
	x := newClouds(t, 3, newKubeletClient(t), "--no-quic", "--drain=1s")
	x.simulate(simulate.Config{Servers: []string{x.front.listener.Addr().String()}, Nodes: nodes, Pods: pods, Twins: 1, PodDelay: 10 * time.Millisecond, ReportInterval: 2 * time.Second})
	x.check(nodes, pods)
	x.awaitLogs()
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	var calls, down atomic.Int64
	var noLogs error
	g.Go(func() error { return x.readAll(ctx, &calls) })
	g.Go(func() error { noLogs = x.readLogsUntil(ctx); return nil })
	g.Go(func() error { return (&world{client: x.client}).disconnections(ctx, &down) })
	var slowest time.Duration
	for range 3 {
		x.add()
		x.balance()
		x.fleet.ResetLatencies()
		first := x.clouds[0]
		// A load balancer stops leading to a cloudcore that is not ready, before it ends.
		x.remove(0)
		first.Call("Stop", struct{}{}, &struct{}{})
		took := x.await(nodes, time.Minute)
		s := x.fleet.Stats().Reconnect
		slowest = max(slowest, s.P99)
		t.Logf("after the stop, all nodes had a session %v later; %d moved, without one for p50 %v, p99 %v", took.Round(time.Millisecond), s.Count, s.P50, s.P99)
		x.check(nodes, pods)
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	switch {
	case noLogs == nil:
	case slowest < 3*time.Second:
		t.Error(noLogs)
	default: // requests wait 5 s for a node that changes over
		t.Logf("this machine is too slow to tell, nodes had no session for %v: %v", slowest, noLogs)
	}
	if n := down.Load(); n > 0 || calls.Load() < 9 {
		t.Errorf("%d times a Node said that its link is down; %d calls were made", n, calls.Load())
	}
}

// readAll does what kubectl does, until ctx ends, and returns the first error.
func (x *trio) readAll(ctx context.Context, calls *atomic.Int64) error {
	const namespace = "edgekit-simulation"
	for i := 0; ctx.Err() == nil; i++ {
		_, listed := x.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		_, labeled := x.client.CoreV1().Nodes().Patch(ctx, "sim-000000", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{"turn":"%d"}}}`, i), metav1.PatchOptions{})
		_, got := x.client.CoreV1().Nodes().Get(ctx, "sim-000001", metav1.GetOptions{})
		if err := errors.Join(listed, labeled, got); err != nil && ctx.Err() == nil {
			return fmt.Errorf("call %d: %w", i, err)
		}
		calls.Add(1)
	}
	return nil
}

// TestSimulateOverQUIC has nodes that join by token, as machines do, and connect over QUIC. Cleanup leaves
// nothing of them.
func TestSimulateOverQUIC(t *testing.T) {
	const nodes, pods = 12, 2
	x := newClouds(t, 1, nil)
	x.simulate(simulate.Config{
		Servers: []string{x.states[0].Address}, Nodes: nodes, Pods: pods, Twins: 3, PodDelay: 10 * time.Millisecond, ReportInterval: time.Second,
		Transport: "quic", Identity: simulate.IdentityToken, Name: "fleet-1",
	})
	x.check(nodes, pods)
	x.until("each device was seen", func() bool { return x.fleet.Stats().Twin.Count >= nodes })
	x.stop()
	if err := simulate.Cleanup(t.Context(), simulate.Config{REST: x.api.Admin, Name: "fleet-1"}); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	left, err := x.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	list, failed := x.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil || failed != nil || len(left.Items) > 0 || len(list.Items) > 0 {
		t.Errorf("%d pods and %d Nodes are left; %v, %v", len(left.Items), len(list.Items), err, failed)
	}
	store, err := nodeidentity.New(nodeidentity.Config{Client: x.client})
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := store.ListNodes(ctx); err != nil || len(claims) > 0 {
		t.Errorf("%d claims of names are left: %v", len(claims), err)
	}
}
