package nodestatus

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pressure is a fake of the evictor's measurements.
type pressure struct {
	mu    sync.Mutex
	list  []corev1.NodeConditionType
	known bool
}

func (p *pressure) set(list ...corev1.NodeConditionType) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.list, p.known = list, true
}

func (p *pressure) get() ([]corev1.NodeConditionType, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.list, p.known
}

// show is the node's conditions but for Ready, as text.
func show(n *corev1.Node) (out []string) {
	for _, c := range n.Status.Conditions[:3] {
		out = append(out, string(c.Type)+" "+string(c.Status)+" "+c.Reason)
	}
	return out
}

// TestPressures: conditions follow the measurements, with the kubelet's reasons and
// events, and keep what an earlier run reported until the first measurement.
func TestPressures(t *testing.T) {
	enough := []string{"MemoryPressure False KubeletHasSufficientMemory", "DiskPressure False KubeletHasNoDiskPressure", "PIDPressure False KubeletHasSufficientPID"}
	short := []string{"MemoryPressure True KubeletHasInsufficientMemory", "DiskPressure True KubeletHasDiskPressure", "PIDPressure True KubeletHasInsufficientPID"}
	synctest.Test(t, func(t *testing.T) {
		p := new(pressure)
		n, cloud := runReporter(t, Config{Pressures: p.get}, nil)
		expect := func(what string, want, events []string) {
			t.Helper()
			n.CheckNow()
			node, _ := cloud.lastNode()
			if got := show(node); !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			var got []string
			cloud.mu.Lock()
			for _, e := range cloud.events {
				got = append(got, e.Type+" "+e.Reason)
				if e.Message != "Node edge status is now: "+e.Reason {
					t.Error(e.Message)
				}
			}
			cloud.events = nil
			cloud.mu.Unlock()
			if !slices.Equal(got, events) {
				t.Errorf("%s: events %q, want %q", what, got, events)
			}
		}
		expect("before anything was measured", enough, nil)
		p.set()
		expect("enough of everything", enough, nil)
		p.set(corev1.NodeDiskPressure, corev1.NodeMemoryPressure, corev1.NodePIDPressure)
		expect("short of everything", short, []string{"Normal NodeHasInsufficientMemory", "Normal NodeHasDiskPressure", "Normal NodeHasInsufficientPID"})
		p.set(corev1.NodeDiskPressure)
		expect("short of disk", []string{enough[0], short[1], enough[2]}, []string{"Normal NodeHasSufficientMemory", "Normal NodeHasSufficientPID"})
		time.Sleep(time.Minute)
		expect("still", []string{enough[0], short[1], enough[2]}, nil)
		p.set()
		expect("over", enough, []string{"Normal NodeHasNoDiskPressure"})
	})
	synctest.Test(t, func(t *testing.T) {
		p := new(pressure)
		since := metav1.NewTime(time.Now().Add(-time.Hour))
		last := &corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue, Reason: "KubeletHasInsufficientMemory", LastTransitionTime: since},
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Reason: reasonUnwritable, LastTransitionTime: since},
		}}}
		_, cloud := runReporter(t, Config{Pressures: p.get, LastNode: func(context.Context) (*corev1.Node, error) { return last, nil }}, nil)
		node, _ := cloud.lastNode()
		if got := show(node); !slices.Equal(got, []string{short[0], enough[1], enough[2]}) || !node.Status.Conditions[0].LastTransitionTime.Equal(&since) {
			t.Errorf("after a restart: %q, %+v", got, node.Status.Conditions[0])
		}
	})
}

// TestKeptFree: memory and disk that eviction keeps free are not allocatable.
func TestKeptFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept := func(c corev1.ResourceList) corev1.ResourceList {
			half := c.StorageEphemeral().Value() / 2
			return corev1.ResourceList{"memory": resource.MustParse("100Mi"), "ephemeral-storage": *resource.NewQuantity(half, resource.BinarySI)}
		}
		_, cloud := runReporter(t, Config{KeptFree: kept, Reserved: corev1.ResourceList{"memory": resource.MustParse("50Mi")}}, nil)
		node, _ := cloud.lastNode()
		has, gives := node.Status.Capacity, node.Status.Allocatable
		if less := has.Memory().Value() - gives.Memory().Value(); less < 150<<20 {
			t.Errorf("%d bytes of memory are kept", less)
		}
		if q := has.StorageEphemeral().Value(); q <= 0 || gives.StorageEphemeral().Value() != q-q/2 {
			t.Errorf("%d of %d bytes of disk are allocatable", gives.StorageEphemeral().Value(), q)
		}
	})
}
