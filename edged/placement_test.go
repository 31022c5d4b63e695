package edged_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/internal/podtest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// fourCPUs is the /sys of a machine with so many threads in each core, one socket and
// no NUMA.
func fourCPUs(threads int) fstest.MapFS {
	fs := fstest.MapFS{"devices/system/cpu/online": {Data: []byte("0-3\n")}}
	for i := range 4 {
		first := i / threads * threads
		core := fmt.Sprintf("%d-%d\n", first, first+threads-1)
		fs[fmt.Sprintf("devices/system/cpu/cpu%d/topology/core_cpus_list", i)] = &fstest.MapFile{Data: []byte(core)}
		fs[fmt.Sprintf("devices/system/cpu/cpu%d/topology/package_cpus_list", i)] = &fstest.MapFile{Data: []byte("0-3\n")}
	}
	return fs
}

// pinning has an agent with the static policy on a machine of four CPUs.
func pinning(threads int, options map[string]string) func(*edged.Config) {
	return func(c *edged.Config) {
		c.Reserved = podtest.Resources("cpu", "100m")
		c.Topology = edged.Topology{CPUManagerPolicy: "static", CPUManagerPolicyOptions: options, Sys: fourCPUs(threads)}
	}
}

// guaranteed is a pod with one container that has so much of its own.
func guaranteed(name, cpu, memory string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Spec.Containers[0].Name = name
	list := podtest.Resources("cpu", cpu, "memory", memory)
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: list, Limits: list}
	return p
}

// runsOn is what the newest container of a name may run on.
func (b *bench) runsOn(name string) string {
	cpus := "it was not made"
	for _, c := range b.rt.Configs() {
		if c.Name == name {
			cpus = c.Resources.CPUSetCPUs
		}
	}
	return cpus
}

// TestCPUManager gives a container a CPU of its own: the others leave it, and get it
// back in the end. A restart of the agent, or of the container, changes nothing.
func TestCPUManager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = pinning(1, nil)
		cfg := b.config()
		b.edit(&cfg)
		agent := b.startAgent(cfg)
		defer func() { b.stop() }()
		want := func(when, other, own string) {
			t.Helper()
			if o, p := b.runsOn("main"), b.runsOn("own"); o != other || p != own {
				t.Errorf("%s: others run on %s, the pod on %s, want %s and %s", when, o, p, other, own)
			}
		}
		shared := newPod("shared", busybox("serve"))
		b.put(shared)
		settle(5 * time.Second)
		own := guaranteed("own", "1", "16Mi")
		b.put(own)
		settle(5 * time.Second)
		want("a pod came", "0,2-3", "1")
		configs := b.rt.Configs()
		if r := configs[len(configs)-1].Resources; r.CPUQuota != 0 || r.CPUShares != 1024 {
			t.Errorf("CPUs of one's own are not limited besides: %+v", r)
		}
		var text strings.Builder
		if err := metricstext.Write(&text, agent); err != nil {
			t.Fatal(err)
		}
		for _, line := range []string{"kubelet_cpu_manager_shared_pool_size_millicores 3000", "kubelet_cpu_manager_exclusive_cpu_allocation_count 1"} {
			if !strings.Contains(text.String(), line+"\n") {
				t.Errorf("no %s in %s", line, text.String())
			}
		}
		b.restartAgent(own.UID)
		want("the agent restarted", "0,2-3", "1")
		b.rt.Exit("own", 1)
		settle(20 * time.Second)
		if st := b.container(own.UID); st.RestartCount != 1 || st.State.Running == nil {
			t.Errorf("%+v", st)
		}
		want("the container restarted", "0,2-3", "1")
		late := newPod("late", busybox("serve"))
		late.Spec.Containers[0].Name = "late"
		b.put(late)
		settle(5 * time.Second)
		if got := b.runsOn("late"); got != "0,2-3" {
			t.Errorf("a later pod runs on %s", got)
		}

		// KEP-1287: no change of a pod with CPUs of its own.
		bigger := own.DeepCopy()
		bigger.Generation, bigger.Spec.Containers[0].Resources.Requests = 2, podtest.Resources("cpu", "500m", "memory", "16Mi")
		bigger.Spec.Containers[0].Resources.Limits = bigger.Spec.Containers[0].Resources.Requests
		b.put(bigger)
		settle(5 * time.Second)
		if c := b.conditionOf(own.UID, corev1.PodResizePending); c == nil || c.Reason != corev1.PodReasonInfeasible || c.Message != `Resize is infeasible for Guaranteed Pods alongside CPU Manager policy "static"` {
			t.Errorf("%+v", c)
		}
		b.del(bigger, 0)
		settle(30 * time.Second)
		if a, b := b.runsOn("main"), b.runsOn("late"); a != "0-3" || b != "0-3" {
			t.Errorf("the pod went: others run on %s and %s", a, b)
		}
	})
}

// TestCPUManagerRetries has the runtime refuse to move a container: that is tried
// again, with a pause.
func TestCPUManagerRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = pinning(1, nil)
		b.start()
		defer func() { b.stop() }()
		b.put(newPod("shared", busybox("serve")))
		settle(5 * time.Second)
		tries := 0
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "UpdateContainerResources main") {
				tries++
				return fmt.Errorf("the runtime is busy")
			}
			return nil
		})
		b.put(guaranteed("own", "1", "16Mi"))
		settle(time.Minute)
		if got := b.runsOn("main"); got != "0-3" || tries < 2 || tries > 10 {
			t.Errorf("on %s after %d tries", got, tries)
		}
		b.rt.FailWith(nil)
		settle(15 * time.Second)
		if got := b.runsOn("main"); got != "0,2-3" {
			t.Errorf("on %s", got)
		}
	})
}

// TestCPUManagerEnded gives the CPU of a pod that has ended to others, though its API
// object stays.
func TestCPUManagerEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = pinning(1, nil)
		b.start()
		defer func() { b.stop() }()
		b.rt.Behave("own", runtimetest.Program{RunFor: 5 * time.Second})
		b.put(newPod("shared", busybox("serve")))
		job := guaranteed("own", "1", "16Mi")
		job.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.put(job)
		settle(4 * time.Second)
		if got := b.runsOn("main"); got != "0,2-3" {
			t.Errorf("while the job runs: on %s", got)
		}
		settle(30 * time.Second)
		if got := b.runsOn("main"); got != "0-3" || b.phase(job.UID) != corev1.PodSucceeded {
			t.Errorf("after the job: on %s, the job is %s", got, b.phase(job.UID))
		}
	})
}

// TestPlacementRefusals has pods that cannot get what they ask for fail with the
// kubelet's reason and message.
func TestPlacementRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		edit    func(*edged.Config)
		pod     *corev1.Pod
		reason  string
		message string
	}{
		"half a core": {
			pinning(2, map[string]string{"full-pcpus-only": "true"}), guaranteed("own", "1", "16Mi"),
			"SMTAlignmentError", "Pod was rejected: SMT Alignment Error: requested 1 cpus not multiple cpus per core = 2",
		},
		"no CPU is left": {
			func(c *edged.Config) {
				pinning(1, nil)(c)
				c.Reserved, c.Topology.ReservedSystemCPUs = nil, "0"
				c.Topology.Sys.(fstest.MapFS)["devices/system/cpu/online"] = &fstest.MapFile{Data: []byte("0")}
			}, guaranteed("own", "1", "16Mi"),
			"UnexpectedAdmissionError", "Pod was rejected: Allocate failed due to not enough cpus available to satisfy request: requested=1, available=0, which is unexpected",
		},
		"no memory is left": {
			func(c *edged.Config) {
				sys := fourCPUs(1)
				sys["devices/system/node/online"] = &fstest.MapFile{Data: []byte("0")}
				sys["devices/system/node/node0/cpulist"] = &fstest.MapFile{Data: []byte("0-3")}
				sys["devices/system/node/node0/meminfo"] = &fstest.MapFile{Data: []byte("Node 0 MemTotal: 20000 kB")}
				c.Reserved = podtest.Resources("memory", "4Mi")
				c.Topology = edged.Topology{MemoryManagerPolicy: "Static", ReservedMemory: []edged.NodeMemory{{Limits: podtest.Resources("memory", "4Mi")}}, Sys: sys}
			}, guaranteed("own", "1", "16Mi"),
			"UnexpectedAdmissionError", "Pod was rejected: Allocate failed due to [memorymanager] failed to get the default NUMA affinity, no NUMA nodes with enough memory is available, which is unexpected",
		},
		"no single node": {
			func(c *edged.Config) {
				pinning(1, nil)(c)
				c.Topology.TopologyManagerPolicy = "single-numa-node"
				sys := c.Topology.Sys.(fstest.MapFS)
				sys["devices/system/node/online"] = &fstest.MapFile{Data: []byte("0-1")}
				for id, cpus := range []string{"0-3", ""} {
					dir := fmt.Sprintf("devices/system/node/node%d/", id)
					sys[dir+"cpulist"] = &fstest.MapFile{Data: []byte(cpus)}
					sys[dir+"meminfo"] = &fstest.MapFile{Data: fmt.Appendf(nil, "Node %d MemTotal: 16000000 kB", id)}
				}
				sys["devices/system/cpu/online"] = &fstest.MapFile{Data: []byte("0")}
			}, guaranteed("own", "1", "16Mi"),
			"TopologyAffinityError", "Pod was rejected: Resources cannot be allocated with Topology locality",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.edit = tt.edit
				b.start()
				defer func() { b.stop() }()
				b.put(tt.pod)
				settle(5 * time.Second)
				b.mu.Lock()
				st := b.status[tt.pod.UID]
				b.mu.Unlock()
				if st.Phase != corev1.PodFailed || st.Reason != tt.reason || st.Message != tt.message {
					t.Errorf("%s, %s: %s", st.Phase, st.Reason, st.Message)
				}
				if n := b.happened(tt.reason); n != 1 {
					t.Errorf("%d events; %q", n, b.events)
				}
			})
		})
	}
}

// TestPlacementState starts an agent on what another left: what does not fit is
// refused with the remedy, unless nothing was given away.
func TestPlacementState(t *testing.T) {
	const given = `{"format":1,"defaultCpuSet":"0,2-3","cpus":{"gone-uid":{"own":"1"}}}`
	for name, tt := range map[string]struct {
		edit func(*edged.Config)
		file string
		want string
	}{
		"no file":                     {pinning(1, nil), "", ""},
		"of a pod that is gone":       {pinning(1, nil), given, ""},
		"no policy any more":          {nil, given, "--cpu-manager-policy"},
		"nothing given, no policy":    {nil, `{"format":1,"defaultCpuSet":"0-3"}`, ""},
		"no JSON":                     {pinning(1, nil), "{", "cannot read which CPUs"},
		"no JSON, no policy":          {nil, "{", "cannot read which CPUs"},
		"more CPUs":                   {pinning(1, nil), strings.Replace(given, "2-3", "2-4", 1), "and pods can have 0-3"},
		"more CPUs and nothing given": {pinning(1, nil), `{"format":1,"defaultCpuSet":"0-4"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				cfg := b.config()
				if tt.edit != nil {
					tt.edit(&cfg)
				}
				file := filepath.Join(cfg.Root, "cpu_manager_state")
				if tt.file != "" {
					if err := os.MkdirAll(cfg.Root, 0o755); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				agent, err := edged.New(cfg)
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() { done <- agent.Run(ctx) }()
				settle(20 * time.Second)
				cancel()
				err = <-done
				if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "drain the node and remove "+file)) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				text, err := os.ReadFile(file)
				if tt.want == "" && tt.edit == nil && err == nil {
					t.Error("a file without a policy")
				}
				if tt.want == "" && tt.edit != nil && !strings.Contains(string(text), `"defaultCpuSet":"0-3"`) {
					t.Errorf("%s, %v", text, err)
				}
			})
		})
	}
}

func TestTopologyConfig(t *testing.T) {
	static := func(fn func(*edged.Topology)) edged.Topology {
		top := edged.Topology{CPUManagerPolicy: "static", ReservedSystemCPUs: "0"}
		fn(&top)
		return top
	}
	for name, tt := range map[string]struct {
		top  edged.Topology
		want string
	}{
		"cpu policy":        {edged.Topology{CPUManagerPolicy: "dynamic"}, "--cpu-manager-policy) is \"dynamic\": use none, static"},
		"memory policy":     {edged.Topology{MemoryManagerPolicy: "static"}, "--memory-manager-policy"},
		"topology policy":   {edged.Topology{TopologyManagerPolicy: "strict"}, "--topology-manager-policy"},
		"scope":             {edged.Topology{TopologyManagerScope: "node"}, "--topology-manager-scope"},
		"period":            {edged.Topology{CPUManagerReconcilePeriod: -1}, "--cpu-manager-reconcile-period"},
		"nothing reserved":  {edged.Topology{CPUManagerPolicy: "static"}, "set --reserved-cpus"},
		"reserved":          {static(func(t *edged.Topology) { t.ReservedSystemCPUs = "a-b" }), "--reserved-cpus"},
		"an option":         {static(func(t *edged.Topology) { t.CPUManagerPolicyOptions = map[string]string{"fast": "true"} }), `"fast" is not known`},
		"an alpha option":   {static(func(t *edged.Topology) { t.CPUManagerPolicyOptions = map[string]string{"align-by-socket": "true"} }), "leave it out"},
		"an option's value": {static(func(t *edged.Topology) { t.CPUManagerPolicyOptions = map[string]string{"full-pcpus-only": "yes"} }), "use true or false"},
		"two options": {static(func(t *edged.Topology) {
			t.CPUManagerPolicyOptions = map[string]string{"distribute-cpus-across-numa": "true", "prefer-align-cpus-by-uncorecache": "true"}
		}), "exclude each other"},
		"options without a policy": {edged.Topology{CPUManagerPolicyOptions: map[string]string{"full-pcpus-only": "true"}}, "static"},
		"no reserved memory":       {edged.Topology{MemoryManagerPolicy: "Static"}, "--reserved-memory"},
		"reserved cpu":             {edged.Topology{ReservedMemory: []edged.NodeMemory{{Limits: podtest.Resources("cpu", "1")}}}, "use memory or hugepages-SIZE"},
		"reserved nothing":         {edged.Topology{ReservedMemory: []edged.NodeMemory{{Limits: podtest.Resources("memory", "0")}}}, "above 0"},
		"a node":                   {edged.Topology{ReservedMemory: []edged.NodeMemory{{NUMANode: -1, Limits: podtest.Resources("memory", "1")}}}, "NUMA node -1"},
		"twice":                    {edged.Topology{ReservedMemory: []edged.NodeMemory{{Limits: podtest.Resources("memory", "1")}, {Limits: podtest.Resources("memory", "1")}}}, "twice"},
		"closest":                  {edged.Topology{TopologyManagerPolicyOptions: map[string]string{"prefer-closest-numa-nodes": "1m"}}, "use true or false"},
		"few nodes":                {edged.Topology{TopologyManagerPolicyOptions: map[string]string{"max-allowable-numa-nodes": "4"}}, "from 8 on"},
		"another":                  {edged.Topology{TopologyManagerPolicyOptions: map[string]string{"x": "4"}}, "is not known"},
	} {
		cfg := newBench(t).config()
		cfg.Topology = tt.top
		if _, err := edged.New(cfg); err == nil || !strings.HasPrefix(err.Error(), "edged: Config.Topology.") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	cfg := newBench(t).config()
	cfg.Topology, cfg.Resources.SystemReservedCgroup = static(func(*edged.Topology) {}), "/system.slice"
	if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), "--system-reserved-cgroup") {
		t.Errorf("with a cgroup: %v", err)
	}
	// The sum must be what the node keeps as a whole.
	cfg = newBench(t).config()
	cfg.Topology = edged.Topology{MemoryManagerPolicy: "Static", ReservedMemory: []edged.NodeMemory{{Limits: podtest.Resources("memory", "1Mi")}}, Sys: fourCPUs(1)}
	cfg.Reserved = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("2Mi")}
	agent, err := edged.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := agent.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "make them equal") {
		t.Errorf("another sum: %v", err)
	}
}
