package simulate

import (
	"hash/fnv"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/hub"
)

// nodeBody is a Node as edgecore reports it.
func (n *node) nodeBody(at time.Time) *corev1.Node {
	condition := func(kind corev1.NodeConditionType, status corev1.ConditionStatus, reason string) corev1.NodeCondition {
		return corev1.NodeCondition{
			Type: kind, Status: status, Reason: reason, Message: "simulated",
			LastHeartbeatTime: metav1.NewTime(at), LastTransitionTime: metav1.NewTime(n.fleet.began),
		}
	}
	resources := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("4Gi"),
		corev1.ResourceEphemeralStorage: resource.MustParse("32Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: n.name, Labels: map[string]string{
			Label: n.fleet.cfg.Name, corev1.LabelHostname: n.name, corev1.LabelArchStable: "arm64", corev1.LabelOSStable: "linux",
		}},
		Status: corev1.NodeStatus{
			Capacity: resources, Allocatable: resources,
			Conditions: []corev1.NodeCondition{
				condition(corev1.NodeMemoryPressure, corev1.ConditionFalse, "KubeletHasSufficientMemory"),
				condition(corev1.NodeDiskPressure, corev1.ConditionFalse, "KubeletHasNoDiskPressure"),
				condition(corev1.NodePIDPressure, corev1.ConditionFalse, "KubeletHasSufficientPID"),
				condition(corev1.NodeReady, corev1.ConditionTrue, "KubeletReady"),
			},
			NodeInfo: corev1.NodeSystemInfo{
				MachineID: n.name, SystemUUID: n.name, BootID: n.name, KernelVersion: "6.12.0", OSImage: "simulated",
				ContainerRuntimeVersion: "containerd://2.1.0", KubeletVersion: "v1.37.2", OperatingSystem: "linux", Architecture: "arm64",
			},
		},
	}
}

// podStatusBody is the status of a pod that runs and is ready. Its times have whole seconds, as
// in the API server.
func podStatusBody(key hub.Key, p *pod, at time.Time) *corev1.Pod {
	now := metav1.NewTime(at.Truncate(time.Second))
	ready := corev1.ConditionFalse
	if p.ready {
		ready = corev1.ConditionTrue
	}
	out := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: p.uid},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, HostIP: "192.0.2.1", PodIP: "192.0.2.1", StartTime: &now,
			HostIPs: []corev1.HostIP{{IP: "192.0.2.1"}}, PodIPs: []corev1.PodIP{{IP: "192.0.2.1"}}, QOSClass: corev1.PodQOSBestEffort,
		},
	}
	for _, kind := range []corev1.PodConditionType{corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady} {
		out.Status.Conditions = append(out.Status.Conditions, corev1.PodCondition{Type: kind, Status: ready, LastTransitionTime: now})
	}
	for _, name := range p.containers {
		started := p.ready
		out.Status.ContainerStatuses = append(out.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: name, Ready: p.ready, Started: &started, Image: image, ImageID: image, ContainerID: "containerd://" + string(p.uid),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
	return out
}

// image is that of all pods; nobody pulls it.
const image = "registry.k8s.io/pause:3.10"

// deviceBody is a device's status. The value of the first property is the time of the report.
func (n *node) deviceBody(at time.Time) *v1beta1.DeviceStatusStatus {
	stamp := strconv.FormatInt(at.UnixNano(), 10)
	out := &v1beta1.DeviceStatusStatus{Status: schema.Status{State: n.state, LastOnlineTime: at.UTC().Format(time.RFC3339)}}
	for i := range n.fleet.cfg.Twins {
		out.Twins = append(out.Twins, schema.Twin{
			PropertyName: propertyName(i),
			Reported:     &schema.Value{Value: stamp, Metadata: map[string]string{"timestamp": strconv.FormatInt(at.UnixMilli(), 10), "type": "string"}},
		})
	}
	return out
}

func propertyName(i int) string { return "p" + strconv.Itoa(i) }

// spread is a time within d that depends on a name.
func spread(name string, d time.Duration) time.Duration {
	h := fnv.New32a()
	h.Write([]byte(name))
	return time.Duration(h.Sum32()) % d
}
