package main

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/simulate"
)

// cost is what the API server and etcd have done so far.
type cost struct {
	requests map[string]float64 // by verb and resource
	watches  float64            // events that were sent to watchers
	bytes    float64            // of those events
	etcd     map[string]float64 // requests to etcd by operation
	stored   float64            // bytes in etcd's file
}

// cost reads the API server's metrics.
func (x *trio) cost() cost {
	x.t.Helper()
	text, err := x.client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	out := cost{requests: x.requests(), etcd: make(map[string]float64)}
	sums := sumMetrics(string(text), func(name, labels string) string {
		switch name {
		case "apiserver_watch_events_total", "apiserver_watch_events_sizes_count":
			return name
		case "apiserver_watch_events_sizes_sum", "apiserver_storage_size_bytes":
			return name
		case "etcd_request_duration_seconds_count":
			return "etcd " + label(labels, "operation")
		}
		return ""
	})
	for k, v := range sums {
		if len(k) > 5 && k[:5] == "etcd " {
			out.etcd[k[5:]] = v
		}
	}
	out.watches = max(sums["apiserver_watch_events_total"], sums["apiserver_watch_events_sizes_count"])
	out.bytes, out.stored = sums["apiserver_watch_events_sizes_sum"], sums["apiserver_storage_size_bytes"]
	return out
}

// perNodeHour prints what one node cost in an hour.
func (x *trio) perNodeHour(name string, nodes int, took time.Duration, before, after cost) {
	hours := took.Hours() * float64(nodes)
	requests := since(before.requests, after.requests)
	r, w := reads(requests)
	result(name+"_reads", r/hours, "1/node/h")
	result(name+"_writes", w/hours, "1/node/h")
	result(name+"_watch_events", (after.watches-before.watches)/hours, "1/node/h")
	result(name+"_watch_bytes", (after.bytes-before.bytes)/1024/hours, "KiB/node/h")
	etcd := since(before.etcd, after.etcd)
	all := 0.0
	for _, n := range etcd {
		all += n
	}
	result(name+"_etcd_requests", all/hours, "1/node/h")
	x.t.Logf("%s: requests: %s", name, most(requests, 8))
	x.t.Logf("%s: etcd: %s; its file has %.1f MiB", name, most(etcd, 8), after.stored/(1<<20))
}

// busy adds up the CPU time of all cloudcores.
func (x *trio) busy() (all time.Duration) {
	for _, p := range x.clouds {
		all += p.Busy()
	}
	return all
}

// memory returns the resident memory of the largest cloudcore and of all, in MiB, after a collection.
func (x *trio) memory() (largest, all float64) {
	for _, p := range x.clouds {
		for range 2 {
			p.Call("Collect", struct{}{}, &struct{}{})
		}
		mib := float64(p.Resident()) / (1 << 20)
		largest, all = max(largest, mib), all+mib
	}
	return largest, all
}

// TestFleetReal runs NODES light nodes with PODS pods each at three cloudcores before a real API
// server, rests for REST seconds, kills one of the three, and prints figures ('make bench-fleet-real').
func TestFleetReal(t *testing.T) {
	if os.Getenv("NODES") == "" {
		t.Skip("'make fleet' runs 1,000 nodes, 'make bench-fleet-real' 10,000: set NODES")
	}
	nodes, pods, twins := number(t, "NODES", 0), number(t, "PODS", 1), number(t, "TWINS", 0)
	rest, ramp := time.Duration(number(t, "REST", 5))*time.Second, time.Duration(number(t, "RAMP", 0))*time.Second
	limit := time.Duration(number(t, "LIMIT", 120)) * time.Second
	transport := os.Getenv("TRANSPORT")
	x := newTrio(t, "--max-handshake-rate=1000")
	empty, _ := x.memory()
	var servers []string
	for _, s := range x.states {
		servers = append(servers, s.Address)
	}
	begun, before, busy := time.Now(), x.cost(), x.busy()
	x.simulate(simulate.Config{
		Servers: servers, Nodes: nodes, Pods: pods, Twins: twins, Transport: transport, Ramp: ramp,
		ReportInterval: time.Duration(number(t, "REPORT", 30)) * time.Second,
	})
	took := time.Since(begun)
	t.Logf("all nodes are connected and all pods reported after %v; the cloudcores used %v of the CPU\n%s", took.Round(time.Second), (x.busy() - busy).Round(time.Second), x.fleet.Stats().Summary())
	s := x.fleet.Stats()
	after := x.cost()
	r, w := reads(since(before.requests, after.requests))
	t.Logf("to register: %s", most(since(before.requests, after.requests), 10))
	result("register_reads", r/float64(nodes), "1/node")
	result("register_writes", w/float64(nodes), "1/node")
	result("connect_p99", s.Connect.P99.Seconds(), "s")
	result("status_p50", s.PodStatus.P50.Seconds(), "s")
	result("status_p99", s.PodStatus.P99.Seconds(), "s")
	x.check(nodes, pods)

	begun, before, busy = time.Now(), x.cost(), x.busy()
	x.fleet.ResetLatencies()
	pause(rest)
	x.perNodeHour("rest", nodes, time.Since(begun), before, x.cost())
	result("rest_cores", (x.busy()-busy).Seconds()/time.Since(begun).Seconds(), "cores")
	if s := x.fleet.Stats(); s.Twin.Count > 0 {
		result("twin_p50", s.Twin.P50.Seconds(), "s")
		result("twin_p99", s.Twin.P99.Seconds(), "s")
	}
	largest, all := x.memory()
	result("cloudcore_rss", largest, "MiB")
	result("cloudcore_rss_empty", empty, "MiB")
	result("cloudcore_kib_per_node", (largest-empty)*1024/float64(nodes), "KiB")
	t.Logf("the three cloudcores have %.0f MiB together", all)
	x.profile(fmt.Sprintf("rest-%d", nodes))

	if os.Getenv("CONSOLE") != "" {
		x.clickConsole(nodes)
	}

	var held []string
	x.clouds[0].Call("Nodes", struct{}{}, &held)
	x.fleet.ResetLatencies()
	before = x.cost()
	x.clouds[0].Kill()
	x.remove(0)
	took = x.await(nodes, limit)
	after = x.cost()
	s = x.fleet.Stats()
	r, w = reads(since(before.requests, after.requests))
	t.Logf("%d nodes were at the cloudcore that was killed: reconnect p50 %v, p99 %v; requests meanwhile: %s", len(held), s.Reconnect.P50, s.Reconnect.P99, most(since(before.requests, after.requests), 8))
	result("reconnect_all", took.Seconds(), "s")
	result("reconnect_nodes", float64(len(held)), "nodes")
	result("reconnect_reads", r, "requests")
	result("reconnect_writes", w, "requests")
	begun, before = time.Now(), x.cost()
	if unready := x.unready(t.Context()); len(unready) > 0 {
		t.Logf("pods that are not Ready when all nodes are back, by reason: %v", unready)
	}
	x.check(nodes, pods)
	t.Logf("all is as it should be %v later: %s", time.Since(begun).Round(time.Second), most(since(before.requests, x.cost().requests), 6))
	largest, _ = x.memory()
	result("cloudcore_rss_two_left", largest, "MiB")
	if largest > rssBudget {
		t.Errorf("a cloudcore has %.0f MiB, the budget is %d", largest, rssBudget)
	}
}

// rssBudget is how much memory a cloudcore may have with 10,000 nodes of 10 pods, in MiB.
const rssBudget = 1536
