package admission

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/static"
)

// MessagePrefix begins the message of a pod's status when it was rejected.
const MessagePrefix = "Pod was rejected: "

// The reasons of rejections that are not named after a resource. They are the
// kubelet's.
const (
	rejectedSysctl    = "SysctlForbidden"
	rejectedOS        = "PodOSNotSupported"
	rejectedOSLabel   = "PodOSSelectorNodeLabelDoesNotMatch"
	rejectedAppArmor  = "AppArmor"
	rejectedGroups    = "SupplementalGroupsPolicyNotSupported"
	rejectedPodLevel  = "PodLevelResourcesNotSupported"
	rejectedFeature   = "PodFeatureUnsupported"
	rejectedAffinity  = "NodeAffinity"
	rejectedTaint     = "TaintToleration"
	rejectedHostPorts = "NodePorts"
	rejectedPods      = "OutOfpods"
	// Not even the end of every pod that yields would make room for a critical one.
	rejectedUnexpected = "UnexpectedAdmissionError"
	rejectedResource   = "OutOf" // and the resource's name
)

// Request is all that decides whether the node takes a pod.
type Request struct {
	Pod         *corev1.Pod
	Others      []*corev1.Pod // those that hold resources of the node
	Allocatable corev1.ResourceList
	Sysctls     []string // allowed beyond the safe ones
	Labels      map[string]string
	Node        *corev1.Node // as the cloud last sent it; nil if it never did
	Features    runtime.Features
	AppArmor    bool // the machine's kernel enforces AppArmor profiles
	PodLimits   bool // pods' cgroups are limited, see cgroup.Groups.Limited
	// Pressures are the conditions of the node that are True since it is short of something.
	Pressures []corev1.NodeConditionType
}

// Decide says why the node does not take the pod; nil if it takes it. It is pure.
// The kubelet checks for pressure first. What concerns the pod alone comes next: another
// state of the node does not change that. A critical pod has room where others can make
// it: see Preempt.
func (f Request) Decide() *plan.Rejection {
	if IsCritical(f.Pod) {
		if _, r := f.Preempt(); r != nil {
			return r
		}
	}
	return firstRejection(f.checkPressure, f.checkPod, f.checkNode, f.checkResources, f.checkHostPorts)
}

// decideWithoutRoom is Decide, whatever resources the pod requests.
func (f Request) decideWithoutRoom() *plan.Rejection {
	return firstRejection(f.checkPressure, f.checkPod, f.checkNode, f.checkHostPorts)
}

// firstRejection makes checks in order until one fails.
func firstRejection(checks ...func() *plan.Rejection) *plan.Rejection {
	for _, check := range checks {
		if r := check(); r != nil {
			return r
		}
	}
	return nil
}

// Room says why the node has no room for what the pod requests besides the others;
// nil if it has. It is pure.
func (f Request) Room() *plan.Rejection { return f.checkResources() }

// reject is a Rejection with a reason of the kubelet's.
func reject(reason, message string) *plan.Rejection {
	return &plan.Rejection{Reason: reason, Message: message}
}

// checkPod checks what the pod asks of the machine and its runtime.
func (f Request) checkPod() *plan.Rejection {
	pod := f.Pod
	if _, err := podspec.Sysctls(pod, f.Sysctls); err != nil {
		return reject(rejectedSysctl, err.Error())
	}
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return reject(rejectedOS, "Failed to admit pod as the OS field doesn't match node OS")
	}
	// The label is older than spec.os (KEP-2802) and still checked by a kubelet.
	if os, ok := pod.Labels[corev1.LabelOSStable]; ok && os != string(corev1.Linux) {
		return reject(rejectedOSLabel, "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label")
	}
	if r := f.checkAppArmor(); r != nil {
		return r
	}
	if sc := pod.Spec.SecurityContext; sc != nil && sc.SupplementalGroupsPolicy != nil && *sc.SupplementalGroupsPolicy == corev1.SupplementalGroupsPolicyStrict && !f.Features.SupplementalGroupsPolicy {
		return reject(rejectedGroups, "SupplementalGroupsPolicy=Strict is not supported in this node: its container runtime is too old")
	}
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		for _, rule := range c.RestartPolicyRules {
			if rule.Action != corev1.ContainerRestartRuleActionRestart && rule.Action != corev1.ContainerRestartRuleActionRestartAllContainers {
				return reject(rejectedFeature, fmt.Sprintf("Pod requires node features that are not available: container %q has a restart rule with the action %s", c.Name, rule.Action))
			}
		}
		for _, m := range c.VolumeMounts {
			if len(m.BindMountOptions) > 0 {
				return reject(rejectedFeature, fmt.Sprintf("Pod requires node features that are not available: container %q mounts %q with bindMountOptions", c.Name, m.Name))
			}
		}
	}
	return f.checkPodLevel()
}

// checkPodLevel checks limits of the pod as a whole (KEP-2837). They bind only
// where the pod has a cgroup of its own that this agent limits.
func (f Request) checkPodLevel() *plan.Rejection {
	if !resourcehelper.IsPodLevelResourcesSet(f.Pod) {
		return nil
	}
	if !f.PodLimits && len(f.Pod.Spec.Resources.Limits) > 0 {
		return reject(rejectedPodLevel, "pod-level limits (spec.resources) are not supported on this node, where pods' cgroups are off (--cgroups-per-qos): set limits on the containers")
	}
	return nil
}

// checkResources says of which resource the node has too little for the pod besides the
// others.
func (f Request) checkResources() *plan.Rejection {
	short := f.shortages()
	if len(short) == 0 {
		return nil
	}
	s := short[0]
	return reject(rejectedResource+string(s.resource), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.resource, s.requested, s.used, s.capacity))
}

// checkHostPorts checks that no other pod uses a port of the host that this one
// wants. A port without an address is one on all addresses.
func (f Request) checkHostPorts() *plan.Rejection {
	for _, mine := range hostPorts(f.Pod) {
		for _, o := range f.Others {
			for _, theirs := range hostPorts(o) {
				if mine.port == theirs.port && mine.protocol == theirs.protocol && (mine.ip == theirs.ip || mine.ip == "" || theirs.ip == "") {
					return reject(rejectedHostPorts, fmt.Sprintf("host port %d/%s is taken by pod %s/%s", mine.port, mine.protocol, o.Namespace, o.Name))
				}
			}
		}
	}
	return nil
}

type hostPort struct {
	port         int32
	protocol, ip string
}

// hostPorts lists the ports of the host that the pod's containers and sidecars
// use. In the host's network every container port is one.
func hostPorts(pod *corev1.Pod) []hostPort {
	containers := slices.Clone(pod.Spec.Containers)
	for i := range pod.Spec.InitContainers {
		if podspec.IsSidecar(&pod.Spec.InitContainers[i]) {
			containers = append(containers, pod.Spec.InitContainers[i])
		}
	}
	var out []hostPort
	for _, c := range containers {
		for _, p := range c.Ports {
			port := p.HostPort
			if port == 0 && pod.Spec.HostNetwork {
				port = p.ContainerPort
			}
			if port == 0 {
				continue
			}
			h := hostPort{port, string(p.Protocol), p.HostIP}
			if h.protocol == "" {
				h.protocol = "TCP"
			}
			if h.ip == "0.0.0.0" || h.ip == "::" {
				h.ip = ""
			}
			out = append(out, h)
		}
	}
	return out
}

// PlacedByScheduler reports whether a scheduler chose the node for the pod. It has
// then checked the Node as the API server has it, which this node may see later.
func PlacedByScheduler(pod *corev1.Pod) bool {
	return !static.Is(pod) && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue
	})
}
