package edged_test

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// always are thresholds that every machine meets.
func always(signal string) func(*edged.Config) {
	return func(c *edged.Config) { c.Eviction = edged.Eviction{Hard: map[string]string{signal: "99.999%"}} }
}

// statusOf is the newest status of a pod, and its condition DisruptionTarget.
func (b *bench) statusOf(uid types.UID) (corev1.PodStatus, *corev1.PodCondition) {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status[uid]
	for i := range st.Conditions {
		if st.Conditions[i].Type == corev1.DisruptionTarget {
			return st, &st.Conditions[i]
		}
	}
	return st, nil
}

// nodeStatus is the newest status of the node.
func (b *bench) nodeStatus() corev1.NodeStatus {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.node.Status
}

// TestEviction: the node's disk is too full all the time. Pods are evicted one after the
// other, with a grace period of a second and a reason in their status; the node has
// DiskPressure; new pods are refused; a restart changes nothing.
func TestEviction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = always("nodefs.available")
		b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		critical := newPod("critical", busybox("serve"))
		priority := int32(2_000_000_000)
		critical.Spec.Priority = &priority
		b.put(critical)
		web := newPod("web", busybox("serve"))
		web.Status.Phase = corev1.PodPending
		b.start()
		settle(5 * time.Second)
		b.put(web)
		settle(5 * time.Second)
		if st, _ := b.statusOf(web.UID); st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != "Pod was rejected: The node had condition: [DiskPressure]. " {
			t.Errorf("a new pod: %+v", st)
		}
		if b.phase(critical.UID) != corev1.PodRunning {
			t.Error("a critical pod was not taken")
		}
		c := b.nodeStatus().Conditions[1]
		if c.Status != corev1.ConditionTrue || c.Reason != "KubeletHasDiskPressure" {
			t.Errorf("%+v", c)
		}
		settle(time.Minute)
		if n := b.happened("EvictionThresholdMet"); n < 2 || b.phase(critical.UID) != corev1.PodRunning {
			t.Errorf("%d events, the critical pod is %s", n, b.phase(critical.UID))
		}
		b.stop()
	})
}

// TestEvictedPod follows one pod that is evicted for memory.
func TestEvictedPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.rt.Behave("main", runtimetest.Program{StopAfter: time.Hour})
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		b.put(p)
		b.start()
		settle(time.Minute)
		b.stop()
		if b.phase(p.UID) != corev1.PodRunning {
			t.Fatal("it does not run")
		}
		b.edit = always("memory.available")
		b.start() // a running pod is not admitted again, but evicted
		settle(1500 * time.Millisecond)
		st, disrupted := b.statusOf(p.UID)
		if st.Phase != corev1.PodRunning || disrupted == nil || disrupted.Reason != "TerminationByKubelet" {
			t.Errorf("while it is stopped: %s, %+v", st.Phase, disrupted)
		}
		settle(2 * time.Second) // the runtime kills it after two
		st, disrupted = b.statusOf(p.UID)
		const message = "The node was low on resource: memory. Threshold quantity: "
		if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || !strings.HasPrefix(st.Message, message) || disrupted == nil || disrupted.Message != st.Message {
			t.Errorf("%s %s %q, %+v", st.Phase, st.Reason, st.Message, disrupted)
		}
		if s := b.container(p.UID).State.Terminated; s == nil || s.ExitCode != 137 {
			t.Errorf("%+v", b.container(p.UID).State)
		}
		if calls := b.rt.Calls(); !slices.Contains(calls, "RemoveContainer main") {
			t.Errorf("its container is left: %q", calls)
		}
		if left, _ := filepath.Glob(filepath.Join(b.root, "root", "pods", "*")); len(left) > 0 {
			t.Errorf("its volumes are left: %q", left)
		}
		if !slices.ContainsFunc(b.seen(), func(e string) bool { return strings.HasPrefix(e, "Evicted: "+message) }) || b.happened("NodeHasInsufficientMemory") != 1 {
			t.Errorf("%q", b.seen())
		}
		b.stop()
		b.edit = nil
		b.start()
		settle(time.Minute)
		after, disruptedAfter := b.statusOf(p.UID)
		if after.Phase != st.Phase || after.Reason != st.Reason || after.Message != st.Message || disruptedAfter == nil || *disruptedAfter != *disrupted {
			t.Errorf("after a restart: %+v, %+v", after, disruptedAfter)
		}
		if c := b.nodeStatus().Conditions[0]; c.Status != corev1.ConditionTrue {
			t.Errorf("the condition is not held over a restart: %+v", c)
		}
		settle(5 * time.Minute)
		if c := b.nodeStatus().Conditions[0]; c.Status != corev1.ConditionFalse || b.happened("NodeHasSufficientMemory") != 1 {
			t.Errorf("%+v", c)
		}
		b.del(p, 0)
		settle(time.Minute)
		b.stop()
		if !b.gone[p.UID] {
			t.Error("it does not go")
		}
	})
}

// fullStore is a cloud whose node cannot store a pod's status.
type fullStore struct {
	*cloud
	full *atomic.Bool
}

func (s fullStore) PodStatus(ctx context.Context, p *corev1.Pod) error {
	if s.full.Load() {
		return syscall.ENOSPC
	}
	return s.cloud.PodStatus(ctx, p)
}

// TestEvictionOfWhatFillsTheStore: a pod fills the disk of the node's store. It is
// evicted and its volumes are removed although its status cannot be stored. The status,
// with the exit code, is reported as soon as possible.
func TestEvictionOfWhatFillsTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var full atomic.Bool
		b.edit = func(c *edged.Config) {
			c.Reports = fullStore{b.cloud, &full}
			c.Unwritable = func() error {
				if full.Load() {
					return syscall.ENOSPC
				}
				return nil
			}
		}
		b.rt.Behave("main", runtimetest.Program{ExitCode: 42})
		limit := resource.MustParse("10Ki")
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
		b.put(p)
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		dir := filepath.Join(b.root, "root", "pods", "web-uid")
		if err := os.WriteFile(filepath.Join(dir, "volumes", "kubernetes.io~empty-dir", "data", "file"), make([]byte, 20<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		settle(time.Minute)
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("its volumes are left: %v", err)
		}
		if calls := b.rt.Calls(); !slices.Contains(calls, "RemoveContainer main") || len(calls) > 20 {
			t.Errorf("%q", calls)
		}
		if b.phase(p.UID) != corev1.PodRunning {
			t.Error("something was stored")
		}
		full.Store(false)
		settle(10 * time.Second)
		st, _ := b.statusOf(p.UID)
		if s := b.container(p.UID).State.Terminated; st.Phase != corev1.PodFailed || st.Reason != "Evicted" || s == nil || s.ExitCode != 42 {
			t.Errorf("%+v", st)
		}
	})
}

// TestLocalStorageLimits: pods write more than they may into volumes and logs.
func TestLocalStorageLimits(t *testing.T) {
	limit := resource.MustParse("100Ki")
	for name, tt := range map[string]struct {
		edit func(*corev1.Pod)
		file string // below the bench's folder
		want string
	}{
		"emptyDir": {
			func(p *corev1.Pod) {
				p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}}}
			},
			"root/pods/web-uid/volumes/kubernetes.io~empty-dir/data/file", `Usage of EmptyDir volume "data" exceeds the limit "100Ki". `,
		},
		"log": {
			func(p *corev1.Pod) {
				p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: limit}
			},
			"logs/default_web_web-uid/main/0.log", `Pod ephemeral local storage usage exceeds the total limit of containers 100Ki. `,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				p := newPod("web", busybox("serve"))
				tt.edit(p)
				b.put(p)
				b.start()
				defer func() { b.stop() }()
				settle(time.Minute)
				file := filepath.Join(b.root, tt.file)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, make([]byte, 50<<10), 0o600); err != nil {
					t.Fatal(err)
				}
				settle(time.Minute)
				if b.phase(p.UID) != corev1.PodRunning {
					t.Fatalf("it keeps its limits and is %s", b.phase(p.UID))
				}
				if err := os.WriteFile(file, make([]byte, 150<<10), 0o600); err != nil {
					t.Fatal(err)
				}
				settle(20 * time.Second)
				st, disrupted := b.statusOf(p.UID)
				if st.Phase != corev1.PodFailed || st.Reason != "Evicted" || st.Message != tt.want || disrupted != nil {
					t.Errorf("%s %s %q, %+v", st.Phase, st.Reason, st.Message, disrupted)
				}
				if b.happened("Evicted") != 1 || b.happened("LimitNotEnforced") > 0 {
					t.Errorf("%q", b.seen())
				}
			})
		})
	}
}

// TestEvictionMetrics: the metric has the kubelet's name.
func TestEvictionMetrics(t *testing.T) {
	agent, err := edged.New(newBench(t).config())
	if err != nil {
		t.Fatal(err)
	}
	if err := prometheus.NewPedanticRegistry().Register(agent); err != nil {
		t.Error(err)
	}
	descs := make(chan *prometheus.Desc)
	go func() { agent.Describe(descs); close(descs) }()
	found := false
	for d := range descs {
		found = found || strings.Contains(d.String(), `"kubelet_evictions"`)
	}
	if !found {
		t.Error("kubelet_evictions is not described")
	}
}

// TestEvictionConfig: wrong settings are refused with the kubelet's name and a remedy,
// and allocatable is less than capacity by the thresholds.
func TestEvictionConfig(t *testing.T) {
	for name, tt := range map[string]struct {
		set  edged.Eviction
		want string
	}{
		"no signal":       {edged.Eviction{Hard: map[string]string{"disk": "1Gi"}}, "evictionHard"},
		"no grace period": {edged.Eviction{Soft: map[string]string{"memory.available": "1Gi"}}, "evictionSoftGracePeriod"},
		"negative period": {edged.Eviction{PressureTransitionPeriod: -1}, "evictionPressureTransitionPeriod"},
	} {
		cfg := newBench(t).config()
		cfg.Eviction = tt.set
		if _, err := edged.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Eviction") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.edit = func(c *edged.Config) {
			c.Eviction = edged.Eviction{Hard: map[string]string{"memory.available": "64Mi", "nodefs.available": "1%"}}
			c.NodeIPs = []netip.Addr{netip.MustParseAddr("192.0.2.8")}
		}
		b.start()
		defer func() { b.stop() }()
		settle(time.Minute)
		st := b.nodeStatus()
		if less := st.Capacity.Memory().Value() - st.Allocatable.Memory().Value(); less < 64<<20 {
			t.Errorf("%d bytes of memory are kept free", less)
		}
		disk := st.Capacity.StorageEphemeral().Value()
		if less := disk - st.Allocatable.StorageEphemeral().Value(); less <= 0 || less > disk/50 {
			t.Errorf("%d of %d bytes of disk are kept free", less, disk)
		}
	})
}
