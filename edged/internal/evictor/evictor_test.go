package evictor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/internal/nodeusage"
	"github.com/edgekit/edgekit/edged/runtime"
)

// fakeNode is a node, its pods and its runtime. Evicting a pod frees what it uses.
type fakeNode struct {
	t *testing.T

	mu       sync.Mutex
	free     map[eviction.Signal]int64 // of 1000
	layout   eviction.Layout
	pods     []*corev1.Pod
	uses     map[types.UID]uint64 // of everything
	folders  map[types.UID]Folders
	stays    bool // evicted pods do not go
	hang     chan struct{}
	usageErr error
	asked    int // how often the runtime was asked
	log      []string
	node     *corev1.Node
	changes  int
	reclaims uint64 // what ReclaimAll frees
}

func newNode(t *testing.T) *fakeNode {
	return &fakeNode{t: t, free: map[eviction.Signal]int64{eviction.MemoryAvailable: 500, eviction.NodeFsAvailable: 500}, uses: make(map[types.UID]uint64), folders: make(map[types.UID]Folders)}
}

func (n *fakeNode) addPod(name string, uses uint64, edits ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Name: "main"}}
	for _, edit := range edits {
		edit(p)
	}
	n.pods = append(n.pods, p)
	n.uses[p.UID] = uses
	return p
}

func (n *fakeNode) set(s eviction.Signal, free int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.free[s] = free
}

func (n *fakeNode) Read(context.Context) nodeusage.Reading {
	n.mu.Lock()
	hang := n.hang
	n.mu.Unlock()
	if hang != nil {
		<-hang
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	r := nodeusage.Reading{Seen: make(eviction.Observations), Layout: n.layout}
	for s, free := range n.free {
		r.Seen[s] = eviction.Observation{Available: free, Capacity: 1000}
	}
	return r
}

func (n *fakeNode) Active() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.pods)
}

func (n *fakeNode) Folders(p *corev1.Pod) Folders {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.folders[p.UID]
}

func (n *fakeNode) Evict(uid types.UID, how Eviction) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	i := slices.IndexFunc(n.pods, func(p *corev1.Pod) bool { return p.UID == uid })
	if i < 0 {
		return false
	}
	n.log = append(n.log, fmt.Sprintf("evict %s in %s: %s", uid, how.Grace, strings.TrimSpace(how.Message)))
	if how.Disrupts == strings.Contains(how.Message, "exceed") {
		n.t.Errorf("DisruptionTarget %t: %s", how.Disrupts, how.Message)
	}
	n.pods = slices.Delete(slices.Clone(n.pods), i, i+1)
	if !n.stays {
		for s := range n.free {
			n.free[s] += int64(n.uses[uid])
		}
	}
	return true
}

func (n *fakeNode) IsGone(types.UID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !n.stays
}

func (n *fakeNode) PodUsage(context.Context) ([]runtime.PodUsage, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	var out []runtime.PodUsage
	for _, p := range n.pods {
		use := n.uses[p.UID]
		u := runtime.PodUsage{UID: string(p.UID), Usage: runtime.Usage{WorkingSet: &use}, Processes: &use}
		u.Containers = []runtime.ContainerUsage{{Name: "main", Usage: u.Usage, Written: &use}}
		out = append(out, u)
	}
	return out, n.usageErr
}

func (n *fakeNode) RemoveDead(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, "remove dead")
	return errors.New("one is left")
}

func (n *fakeNode) ReclaimAll(context.Context) (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, "reclaim images")
	n.free[eviction.NodeFsAvailable] += int64(n.reclaims)
	return n.reclaims, nil
}

func (n *fakeNode) event(kind, reason, message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, kind+" "+reason+": "+message)
}

// take returns what happened since the last call.
func (n *fakeNode) take() []string {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	log := n.log
	n.log = nil
	return log
}

// config is one in which 100 of 1000 must be free.
func (n *fakeNode) config(edits ...func(*Config)) Config {
	value := eviction.Value{Part: 0.1}
	cfg := Config{
		Node: n, Pods: n, Usage: n, NodeEvent: n.event,
		Thresholds: []eviction.Threshold{{Signal: eviction.MemoryAvailable, Value: value}, {Signal: eviction.NodeFsAvailable, Value: value}},
		Changed:    func() { n.mu.Lock(); n.changes++; n.mu.Unlock() },
		PodEvent: func(p *corev1.Pod, kind, reason, _ string) {
			n.event(kind, reason, p.Name)
		},
		LastNode: func(context.Context) (*corev1.Node, error) {
			if n.node == nil {
				return nil, errors.New("not there")
			}
			return n.node, nil
		},
	}
	for _, edit := range edits {
		edit(&cfg)
	}
	return cfg
}

// run runs an Evictor until the test's end.
func run(t *testing.T, cfg Config) *Evictor {
	t.Helper()
	e, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	e.Prepare(ctx)
	go func() { done <- e.Run(ctx) }()
	synctest.Wait() // the first pass is over
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return e
}

func want(t *testing.T, got []string, lines ...string) {
	t.Helper()
	if !slices.Equal(got, lines) {
		t.Errorf("\nhave %q\nwant %q", got, lines)
	}
}

func pressures(e *Evictor) []corev1.NodeConditionType {
	list, _ := e.Pressures()
	return list
}

// TestMemory: the node runs out of memory. One pod after the other is evicted until there
// is enough, and a critical pod never is.
func TestMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addPod("small", 10)
		n.addPod("large", 50)
		n.addPod("largest", 60)
		critical := int32(2_000_000_000)
		n.addPod("critical", 500, func(p *corev1.Pod) { p.Spec.Priority = &critical })
		e := run(t, n.config())
		time.Sleep(time.Minute)
		want(t, n.take())
		if n.asked > 0 {
			t.Errorf("the runtime was asked %d times at rest", n.asked)
		}
		n.set(eviction.MemoryAvailable, 20)
		time.Sleep(10 * time.Second)
		const low = "The node was low on resource: memory. Threshold quantity: 100, available: "
		want(t, n.take(), "Warning EvictionThresholdMet: Attempting to reclaim memory",
			"evict largest in 1s: "+low+"20. Container main was using 60, request is 0, has larger consumption of memory.", "Warning Evicted: largest")
		time.Sleep(time.Second) // it is gone: the next look follows at once
		want(t, n.take(), "Warning EvictionThresholdMet: Attempting to reclaim memory",
			"evict large in 1s: "+low+"80. Container main was using 50, request is 0, has larger consumption of memory.", "Warning Evicted: large")
		time.Sleep(time.Minute)
		want(t, n.take())
		if got := pressures(e); !slices.Equal(got, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
			t.Errorf("%v", got)
		}
		time.Sleep(5 * time.Minute)
		if got := pressures(e); len(got) > 0 || n.changes != 3 {
			t.Errorf("%v, %d changes", got, n.changes)
		}
		n.set(eviction.MemoryAvailable, 5)
		time.Sleep(10 * time.Second)
		n.take()
		n.set(eviction.MemoryAvailable, 5)
		time.Sleep(20 * time.Second)
		for _, line := range n.take() { // only the critical pod is left
			if !strings.HasPrefix(line, "Warning EvictionThresholdMet") {
				t.Error(line)
			}
		}
		var out bytes.Buffer
		if err := metricstext.Write(&out, e); err != nil || !strings.Contains(out.String(), "\nkubelet_evictions{eviction_signal=\"memory.available\"} 3\n") {
			t.Errorf("%v %s", err, out.String())
		}
	})
}

// TestOneAtATime: while an evicted pod ends slowly, no other is evicted, for up to 30
// seconds.
func TestOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.stays = true
		n.addPod("a", 20)
		n.addPod("b", 10)
		n.set(eviction.MemoryAvailable, 20)
		run(t, n.config())
		time.Sleep(29 * time.Second)
		if log := n.take(); len(log) != 3 || !strings.HasPrefix(log[1], "evict a") {
			t.Errorf("%q", log)
		}
		time.Sleep(2 * time.Second)
		if log := n.take(); len(log) != 3 || !strings.HasPrefix(log[1], "evict b") {
			t.Errorf("%q", log)
		}
	})
}

// TestSoft: a soft threshold acts after its grace period, and gives the pod time to end.
func TestSoft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addPod("a", 200)
		run(t, n.config(func(c *Config) {
			c.Thresholds = []eviction.Threshold{{Signal: eviction.MemoryAvailable, Value: eviction.Value{Part: 0.1}, Grace: time.Minute}}
			c.MaxGracePeriod = 20 * time.Second
		}))
		n.set(eviction.MemoryAvailable, 20)
		time.Sleep(69 * time.Second)
		want(t, n.take())
		time.Sleep(time.Second)
		if log := n.take(); len(log) != 3 || !strings.HasPrefix(log[1], "evict a in 20s") {
			t.Errorf("%q", log)
		}
	})
}

// TestDiskReclaimsFirst: unused images are removed before a pod is evicted.
func TestDiskReclaimsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addPod("a", 200)
		n.reclaims = 100
		run(t, n.config(func(c *Config) { c.Reclaimer = n }))
		n.set(eviction.NodeFsAvailable, 20)
		time.Sleep(15 * time.Second)
		want(t, n.take(), "Warning EvictionThresholdMet: Attempting to reclaim ephemeral-storage", "remove dead", "reclaim images")
		n.set(eviction.NodeFsAvailable, 20)
		n.mu.Lock()
		n.reclaims = 10
		n.mu.Unlock()
		time.Sleep(10 * time.Second)
		log := n.take()
		if len(log) != 5 || !strings.HasPrefix(log[3], "evict a in 1s: The node was low on resource: ephemeral-storage. Threshold quantity: 100, available: 20.") {
			t.Errorf("%q", log)
		}
	})
}

// TestLimits: pods write more than they may, into real folders.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		dir := t.TempDir()
		limit := resource.MustParse("100Ki")
		sized := func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		}
		bounded := func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"ephemeral-storage": limit}
		}
		write := func(name string, size int) {
			file := filepath.Join(dir, name, "file")
			if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, make([]byte, size), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"volume", "layer", "logs", "free"} {
			edit := bounded
			switch name {
			case "volume":
				edit = sized
			case "free":
				edit = func(*corev1.Pod) {}
			}
			p := n.addPod(name, 0, edit)
			n.folders[p.UID] = Folders{Volumes: map[string]string{"v": filepath.Join(dir, name)}, Logs: map[string]string{"main": filepath.Join(dir, name, "logs")}}
			write(name, 10<<10)
		}
		e := run(t, n.config())
		time.Sleep(time.Minute)
		want(t, n.take())
		write("free", 1<<20)
		write("volume", 200<<10)
		time.Sleep(11 * time.Second)
		want(t, n.take(), `evict volume in 1s: Usage of EmptyDir volume "v" exceeds the limit "100Ki".`, "Warning Evicted: volume")
		n.mu.Lock()
		n.uses["layer"] = 95 << 10
		n.mu.Unlock()
		write("logs/logs", 200<<10)
		time.Sleep(11 * time.Second)
		const total = "Pod ephemeral local storage usage exceeds the total limit of containers 100Ki."
		want(t, n.take(), "evict layer in 1s: "+total, "Warning Evicted: layer", "evict logs in 1s: "+total, "Warning Evicted: logs")
		var out bytes.Buffer
		if err := metricstext.Write(&out, e); err != nil || !strings.Contains(out.String(), "{eviction_signal=\"ephemeralpodfs.limit\"} 2\n") {
			t.Errorf("%v %s", err, out.String())
		}
	})
}

// TestUsageIsNotKnown: the runtime does not answer. For memory, no pod is evicted without
// a measurement.
func TestUsageIsNotKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addPod("a", 200)
		n.usageErr = errors.New("down")
		run(t, n.config())
		n.set(eviction.MemoryAvailable, 20)
		time.Sleep(15 * time.Second)
		want(t, n.take(), "Warning EvictionThresholdMet: Attempting to reclaim memory")
		n.mu.Lock()
		n.usageErr = nil
		n.mu.Unlock()
		time.Sleep(10 * time.Second)
		if log := n.take(); len(log) != 3 || !strings.HasPrefix(log[1], "evict a") {
			t.Errorf("%q", log)
		}
	})
}

// TestDiskHangs: the disk does not answer. Only one call waits for it, nothing is
// decided, and Run returns within a second after cancel.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.addPod("a", 200)
		e, err := New(n.config())
		if err != nil {
			t.Fatal(err)
		}
		e.Prepare(t.Context())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		time.Sleep(time.Minute)
		hang := make(chan struct{})
		n.mu.Lock()
		n.hang, n.free[eviction.MemoryAvailable] = hang, 20
		n.mu.Unlock()
		time.Sleep(5 * time.Minute)
		want(t, n.take())
		began := time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(began) != joinLimit {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		close(hang)
		if err := e.Run(t.Context()); err == nil {
			t.Error("it runs twice")
		}
	})
}

// TestHeldOverARestart: conditions that an earlier run reported stay for the transition
// period, except those that a full store caused.
func TestHeldOverARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.node = &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue, Reason: "KubeletHasInsufficientMemory"},
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Reason: "StoreUnwritable"},
			{Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficientPID"},
		}}}
		e, err := New(n.config())
		if err != nil {
			t.Fatal(err)
		}
		if list, known := e.Pressures(); known || len(list) > 0 {
			t.Errorf("before it was measured: %v, %t", list, known)
		}
		e = run(t, n.config())
		if list, known := e.Pressures(); !known || !slices.Equal(list, []corev1.NodeConditionType{corev1.NodeMemoryPressure}) {
			t.Errorf("%v, %t", list, known)
		}
		time.Sleep(5*time.Minute + 10*time.Second)
		if got := pressures(e); len(got) > 0 {
			t.Errorf("%v", got)
		}
	})
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty Config is accepted")
	}
}
