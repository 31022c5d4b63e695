package nodestatus

import (
	"context"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// stock compares the Node with that of a stock kubelet 1.37: the fields that one sets, and
// why this Reporter does not. "" means that it does as well.
var stock = map[string]string{
	"ObjectMeta.Labels":                       "",
	"ObjectMeta.Annotations":                  "", // of Config, and controller-managed-attach-detach
	"Spec.Taints":                             "",
	"Spec.ProviderID":                         "set with a cloud provider only",
	"Spec.Unschedulable":                      "set with --register-schedulable=false only",
	"Status.Capacity":                         "",
	"Status.Allocatable":                      "",
	"Status.Conditions":                       "",
	"Status.Addresses":                        "",
	"Status.DaemonEndpoints":                  "cloudcore's: it serves the node's kubelet endpoint",
	"Status.NodeInfo.MachineID":               "",
	"Status.NodeInfo.SystemUUID":              "",
	"Status.NodeInfo.BootID":                  "",
	"Status.NodeInfo.KernelVersion":           "",
	"Status.NodeInfo.OSImage":                 "",
	"Status.NodeInfo.ContainerRuntimeVersion": "",
	"Status.NodeInfo.KubeletVersion":          "",
	"Status.NodeInfo.OperatingSystem":         "",
	"Status.NodeInfo.Architecture":            "",
	"Status.NodeInfo.Swap":                    "", // where the machine has some
	"Status.Images":                           "",
	"Status.VolumesInUse":                     "",
	"Status.RuntimeHandlers":                  "",
	"Status.Features":                         "",
	"Status.DeclaredFeatures":                 "",
	"Status.NodeInfo.KubeProxyVersion":        "no longer set by a kubelet: it does not know it",
	"Status.NodeInfo.RunningInUserNamespace":  "set with the alpha gate KubeletInUserNamespace only",
	"Status.VolumesAttached":                  "the attach-detach controller's",
	"Status.Phase":                            "no longer set by anybody",
	"Status.Config":                           "removed from Kubernetes in 1.24",
	"Spec.PodCIDR":                            "the controller manager's",
	"Spec.PodCIDRs":                           "the controller manager's",
	"Spec.ConfigSource":                       "removed from Kubernetes in 1.24",
	"Spec.DoNotUseExternalID":                 "removed from Kubernetes",
	"Spec.PodPreemptionPolicy":                "the scheduler's",
}

// withHandlers is a Runtime that says what it can do, or does not answer.
type withHandlers struct {
	healthy
	away atomic.Bool
}

func (r *withHandlers) Health(context.Context) (runtime.Health, error) {
	if r.away.Load() {
		return runtime.Health{}, context.DeadlineExceeded
	}
	return runtime.Health{
		RuntimeReady: true, NetworkReady: true, Features: runtime.Features{SupplementalGroupsPolicy: true},
		Handlers: []runtime.Handler{{Name: "runc2", UserNamespaces: true}, {RecursiveReadOnlyMounts: true}},
	}, nil
}

func (r *withHandlers) ListImages(context.Context) ([]runtime.Image, error) {
	return []runtime.Image{{ID: "i", Tags: []string{"a:1"}, Size: 1}}, nil
}

// TestNodeIsComplete: every field of a Node that a stock kubelet sets is set, or there is a
// reason; and there is none that the table does not know.
func TestNodeIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := &withHandlers{}
		n, cloud := runReporter(t, Config{
			Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}, Features: []string{"F"},
			VolumesInUse: func() []corev1.UniqueVolumeName { return []corev1.UniqueVolumeName{"v"} },
		}, func(n *Reporter) { n.cfg.Runtime = rt })
		n.mu.Lock()
		n.host.info.Swap = &corev1.NodeSwapStatus{Capacity: new(int64(1))}
		// Containers and machines without firmware have none.
		n.host.info.MachineID, n.host.info.SystemUUID = "m", "s"
		n.mu.Unlock()
		time.Sleep(time.Minute)
		node, _ := cloud.lastNode()
		seen := make(map[string]bool)
		fields := func(prefix string, v reflect.Value) {
			for i := range v.NumField() {
				name := prefix + v.Type().Field(i).Name
				if name == "Status.NodeInfo" {
					continue
				}
				seen[name] = true
				reason, known := stock[name]
				if !known {
					t.Errorf("%s: the table does not know it", name)
				} else if set := !v.Field(i).IsZero(); set != (reason == "") {
					t.Errorf("%s: set %t, but the table says %q", name, set, reason)
				}
			}
		}
		fields("Spec.", reflect.ValueOf(node.Spec))
		fields("Status.", reflect.ValueOf(node.Status))
		fields("Status.NodeInfo.", reflect.ValueOf(node.Status.NodeInfo))
		for name := range stock {
			if !seen[name] && name != "ObjectMeta.Labels" && name != "ObjectMeta.Annotations" {
				t.Errorf("%s is no field of a Node", name)
			}
		}
		if len(node.Labels) == 0 || node.Annotations[attachedByController] != "true" {
			t.Errorf("labels %v, annotations %v", node.Labels, node.Annotations)
		}
		h := node.Status.RuntimeHandlers
		if len(h) != 2 || h[0].Name != "" || !*h[0].Features.RecursiveReadOnlyMounts || *h[0].Features.UserNamespaces || h[1].Name != "runc2" ||
			!*h[1].Features.UserNamespaces || !*node.Status.Features.SupplementalGroupsPolicy {
			t.Errorf("handlers %+v, features %+v", h, node.Status.Features)
		}
	})
}

// TestHandlersOfLastTime: before the runtime has answered, the Node shows what the Agent
// before this one has reported.
func TestHandlersOfLastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := &corev1.Node{}
		last.Status.RuntimeHandlers = []corev1.NodeRuntimeHandler{{Name: "kata"}}
		last.Status.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: new(false)}
		rt := &withHandlers{}
		rt.away.Store(true)
		_, cloud := runReporter(t, Config{LastNode: func(context.Context) (*corev1.Node, error) { return last, nil }}, func(n *Reporter) { n.cfg.Runtime = rt })
		node, _ := cloud.lastNode()
		if h := node.Status.RuntimeHandlers; len(h) != 1 || h[0].Name != "kata" || node.Status.Features == nil {
			t.Errorf("%+v, %+v", h, node.Status.Features)
		}
		rt.away.Store(false)
		time.Sleep(time.Minute)
		node, _ = cloud.lastNode()
		if h := node.Status.RuntimeHandlers; !slices.ContainsFunc(h, func(h corev1.NodeRuntimeHandler) bool { return h.Name == "runc2" }) {
			t.Errorf("then %+v", h)
		}
	})
}
