package hubbench_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubbench/processtest"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// fleetPlan is one run with many nodes.
type fleetPlan struct {
	transport string
	nodes     int
	crews     int           // processes that the nodes are spread over
	objects   int           // that each node holds
	keepalive time.Duration // of every node
	ask       time.Duration // how often nodes over QUIC ask for the server, 0 for the default
	rest      time.Duration // how long the server's use of the CPU is watched
	deliver   Delivery
	profile   string // how the names of profiles begin; empty for none
}

// collectAt is GOGC for the server of a fleet, as cloudcore sets it: a server of many
// nodes has a large heap that lives long, which the default would double.
func collectAt() string { return setting("GOGC", "18") }

// crewMiB is how much memory all nodes together should stay within.
const crewMiB = 13_000

// fleet is a server with its nodes, each in processes of their own.
type fleet struct {
	t     testing.TB
	plan  fleetPlan
	cfg   CloudConfig
	cloud *processtest.Process
	crews []*processtest.Process
	empty int64 // bytes that the server uses without nodes
}

// newFleet starts the server and has all nodes connect.
func newFleet(t testing.TB, plan fleetPlan) *fleet {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("what a process uses is read from /proc")
	}
	cert, key := authority(t)
	f := &fleet{t: t, plan: plan, cfg: CloudConfig{
		Transport: plan.transport, CertPEM: cert, KeyPEM: key,
		Nodes: plan.nodes, Objects: plan.objects, Keepalive: plan.keepalive, Ask: plan.ask,
	}}
	for i := range plan.crews {
		f.cfg.Hosts = append(f.cfg.Hosts, loopback(i))
	}
	if _, err := rand.Read(f.cfg.ResetKey[:]); err != nil {
		t.Fatal(err)
	}
	f.cfg.Port = hubtest.FreePort(t, map[string]string{"quic": "udp", "ws": "tcp"}[plan.transport], "")
	f.serve()
	f.cloud.Call("Collect", struct{}{}, &struct{}{})
	f.empty = f.cloud.Resident()
	for i := range plan.crews {
		// Real nodes are on other machines, and their memory is not measured here. So
		// they collect garbage rarely, up to a limit for all of them, and the server gets
		// nine times their share of the CPU. Otherwise the nodes would starve the server
		// that they wait for, and retry for ever.
		p := processtest.Start(t, processtest.Config{Role: "crew", By: []string{"nice", "-n", "10"}, Env: []string{"GOGC=400", fmt.Sprintf("GOMEMLIMIT=%dMiB", crewMiB/plan.crews)}})
		host := loopback(0)
		if plan.transport == "ws" {
			host = loopback(i) // each address has as many ports as there are
		}
		first := i * plan.nodes / plan.crews
		p.Call("Start", CrewConfig{
			Transport: plan.transport, Host: host, Port: f.cfg.Port, Own: loopback(1 + i), CertPEM: f.cfg.CertPEM, KeyPEM: key,
			First: first, Nodes: (i+1)*plan.nodes/plan.crews - first, Objects: plan.objects, Keepalive: plan.keepalive, Dials: 64 / plan.crews,
		}, &struct{}{})
		f.crews = append(f.crews, p)
	}
	return f
}

// serve starts a server at the same address as the one before.
func (f *fleet) serve() {
	f.t.Helper()
	env := []string{"GOGC=" + collectAt()}
	if f.plan.profile != "" && f.cfg.Versions == nil { // a restarted one is too slow with it
		env = append(env, "GODEBUG=memprofilerate=512") // exact enough to divide by the nodes
	}
	f.cloud = processtest.Start(f.t, processtest.Config{Role: "cloud", Env: env})
	f.cloud.Call("Start", f.cfg, &f.cfg.Port)
}

func (f *fleet) state() (s CloudState) {
	f.t.Helper()
	f.cloud.Call("State", struct{}{}, &s)
	return s
}

// nodes adds up the states of all crews.
func (f *fleet) nodes() (all CrewState) {
	f.t.Helper()
	for _, p := range f.crews {
		var s CrewState
		p.Call("State", struct{}{}, &s)
		all.Connected += s.Connected
		all.Sessions += s.Sessions
		all.FullLists += s.FullLists
		all.Applied += s.Applied
		all.Failed = append(all.Failed, s.Failed...)
	}
	return all
}

// outcomes adds up how handshakes ended at the nodes.
func (f *fleet) outcomes() Outcomes {
	f.t.Helper()
	all := Outcomes{make(map[hub.HandshakeResult]uint64), make(map[string]int)}
	for _, p := range f.crews {
		var o Outcomes
		p.Call("Outcomes", struct{}{}, &o)
		for result, n := range o.Handshakes {
			all.Handshakes[result] += n
		}
		for err, n := range o.Dials {
			all.Dials[err] += n
		}
	}
	return all
}

// await polls until n nodes are in step, or limit has passed. It returns how long that
// took and how many nodes are in step. It fails when a node gives up.
func (f *fleet) await(n int, limit time.Duration) (time.Duration, int) {
	f.t.Helper()
	begun, logged := time.Now(), time.Now()
	for {
		var s CloudState
		f.cloud.Call("Standing", struct{}{}, &s)
		if s.InStep >= n || time.Since(begun) > limit {
			return time.Since(begun), s.InStep
		}
		if n := f.nodes(); len(n.Failed) > 0 {
			f.t.Fatalf("%d nodes gave up, the first: %s", len(n.Failed), n.Failed[0])
		}
		if time.Since(logged) > 10*time.Second {
			logged = time.Now()
			f.t.Logf("%d of %d nodes connected after %v; the server used %v of the CPU and saw handshakes end as %v",
				s.Connected, n, time.Since(begun).Round(time.Second), f.cloud.Busy(), s.Handshakes)
		}
		// Polling takes CPU that the nodes need: 10 ms for 100,000 of them.
		<-time.After(max(100*time.Millisecond, time.Duration(n)*20*time.Microsecond))
	}
}

// kept is how much memory an idle node takes at the server.
type kept struct {
	resident, heap, stacks float64 // KiB for each node
	goroutines             float64
}

// weigh measures the server's memory after a garbage collection.
func (f *fleet) weigh() kept {
	f.t.Helper()
	f.cloud.Call("Collect", struct{}{}, &struct{}{})
	f.cloud.Call("Collect", struct{}{}, &struct{}{}) // what finalizers and pools kept
	s := f.state()
	nodes := float64(max(s.Connected, 1))
	each := func(bytes float64) float64 { return bytes / 1024 / nodes }
	return kept{
		resident: each(float64(f.cloud.Resident() - f.empty)), heap: each(float64(s.Heap)), stacks: each(float64(s.Stacks)),
		goroutines: float64(s.Goroutines) / nodes,
	}
}

// deliver changes objects and returns how long each took to its node's Sink.
// A change that was overtaken by the next one of its object does not arrive.
func (f *fleet) deliver(d Delivery) []time.Duration {
	f.t.Helper()
	before := f.nodes().Applied
	f.cloud.Call("Deliver", d, &struct{}{})
	for last := -1; ; {
		n := f.nodes().Applied - before
		if n == last || n == d.Objects {
			break
		}
		last = n
		<-time.After(time.Second)
	}
	var all []time.Duration
	for _, p := range f.crews {
		var some []time.Duration
		p.Call("Latencies", struct{}{}, &some)
		all = append(all, some...)
	}
	slices.Sort(all)
	return all
}

// restart kills the server and starts it again; it returns how long it took
// from the kill until n nodes were back in step, and how many were at the
// limit.
func (f *fleet) restart(n int, limit time.Duration) (time.Duration, int) {
	f.t.Helper()
	f.cloud.Call("Versions", struct{}{}, &f.cfg.Versions) // a real cloud reads them from the API server
	begun := time.Now()
	f.cloud.Kill()
	f.serve()
	f.watch()
	before := f.outcomes()
	_, back := f.await(n, limit)
	took := time.Since(begun)
	f.profile("back")
	after := f.outcomes()
	for result, n := range before.Handshakes {
		after.Handshakes[result] -= n
	}
	f.t.Logf("the server used %v of the CPU; handshakes ended there as %v, at the nodes as %v; attempts failed with %v",
		f.cloud.Busy(), f.state().Handshakes, after.Handshakes, after.Dials)
	return took, back
}

// TestFleet runs a fleet of NODES nodes (default 100) over each transport, and checks in
// seconds what must hold for a large fleet. The memory of a node has a budget, with a
// margin for other machines; the measured figure is in BENCHMARKS.md.
func TestFleet(t *testing.T) {
	nodes := number(t, "NODES", 100)
	for _, transport := range []string{"quic", "ws"} {
		t.Run(transport, func(t *testing.T) {
			plan := fleetPlan{
				transport: transport, nodes: nodes, crews: 2, objects: 4, keepalive: 10 * time.Second,
				deliver: Delivery{Objects: nodes, Rate: 1000},
			}
			f := newFleet(t, plan)
			if _, n := f.await(nodes, 4*time.Minute); n < nodes {
				t.Fatalf("%d of %d nodes are in step", n, nodes)
			}
			k := f.weigh()
			t.Logf("a node costs %.1f KiB: %.1f heap, %.1f stacks of %.1f goroutines", k.resident, k.heap, k.stacks, k.goroutines)
			// With few nodes, the memory that they share counts too much.
			if k.resident > budget && nodes >= 1000 && !raceDetector {
				t.Errorf("a node costs the server %.1f KiB at rest, the budget is %d", k.resident, budget)
			}
			if took := f.deliver(plan.deliver); len(took) < plan.deliver.Objects/2 {
				t.Errorf("%d of %d changes arrived", len(took), plan.deliver.Objects)
			}
			if took, back := f.restart(nodes, 4*time.Minute); back < nodes {
				t.Fatalf("%d of %d nodes are back in step after %v", back, nodes, took)
			}
			n := f.nodes()
			if n.FullLists > 0 {
				t.Errorf("%d full lists were exchanged where digests match", n.FullLists)
			}
		})
	}
}

// budget is how much memory an idle node may take at the server, in KiB.
const budget = 75

// settle is how long the test waits after it has measured the server's memory: the
// garbage collections for that must not disturb the deliveries.
const settle = 15 * time.Second

// manyNodes is up to how many nodes may use quicconn's default keepalive, by which they
// notice within 30 s that the server was restarted.
const manyNodes = 20_000

// TestFleetMeasured prints the figures of a fleet of NODES over TRANSPORT.
func TestFleetMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("a measurement of minutes: set BENCH=1")
	}
	plan := fleetPlan{
		transport: setting("TRANSPORT", "quic"), nodes: number(t, "NODES", 2000), objects: 4,
		keepalive: time.Duration(number(t, "KEEPALIVE", 60)) * time.Second,
		rest:      time.Duration(number(t, "REST", 60)) * time.Second,
		deliver:   Delivery{Objects: 20_000, Rate: 2000},
		profile:   os.Getenv("PROFILE"),
	}
	plan.crews = 2
	if plan.transport == "ws" { // each connection is a file
		plan.crews = max(2, (plan.nodes+9999)/10_000)
	}
	if plan.nodes > manyNodes { // as an operator would set it
		plan.ask = plan.keepalive
	}
	if os.Getenv("PEER") == "quic-go" {
		bare(t, plan)
	}
	limit := time.Duration(number(t, "LIMIT", max(180, plan.nodes/150))) * time.Second
	f := newFleet(t, plan)
	took, nodes := f.await(plan.nodes, limit)
	if nodes == 0 {
		t.Fatal("no node is connected")
	}
	t.Logf("%d nodes connected after %v", nodes, took.Round(100*time.Millisecond))
	for _, p := range f.crews {
		p.Call("Enough", struct{}{}, &struct{}{}) // go on with those that are connected by now
	}

	before := f.cloud.Busy()
	<-time.After(plan.rest)
	busy := f.cloud.Busy() - before
	k := f.weigh()
	s := f.state()
	nodes = s.Connected
	t.Logf("of each node: %.1f KiB heap, %.1f KiB stacks of %.1f goroutines; the process: %s", k.heap, k.stacks, k.goroutines, s.Memory)
	result("nodes_connected", float64(s.Connected), "nodes")
	result("server_kib_per_node", k.resident, "KiB")
	if plan.rest > 0 {
		result("server_cores_at_rest", busy.Seconds()/plan.rest.Seconds(), "cores")
	}
	f.profile("rest")
	if os.Getenv("ONLY") == "rest" {
		return
	}
	<-time.After(settle)
	arrived := f.deliver(plan.deliver)
	if len(arrived) == 0 {
		t.Fatal("nothing was delivered")
	}
	t.Logf("%d changes arrived, the others were overtaken by the next of their object", len(arrived))
	result("delivery_p50", arrived[len(arrived)/2].Seconds()*1e3, "ms")
	result("delivery_p99", arrived[len(arrived)*99/100].Seconds()*1e3, "ms")
	if os.Getenv("ONLY") == "delivery" {
		return
	}
	lists := f.nodes().FullLists
	took, back := f.restart(nodes, limit+plan.keepalive)
	if back < nodes {
		t.Errorf("%d of %d nodes are back after %v", back, nodes, took)
	}
	result("restart_all_back", took.Seconds(), "s")
	result("handshakes_peak", float64(f.state().Peak), "1/s")
	result("full_lists", float64(f.nodes().FullLists-lists), "lists")
}
