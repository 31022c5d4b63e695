package table

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// pod prints a pod as the API server does: one word for its state, which a reason of a
// container overrides.
func pod(p *corev1.Pod, now time.Time) []any {
	state := podState(p)
	restarts, ready, total := 0, 0, len(p.Spec.Containers)
	var last time.Time
	count := func(s corev1.ContainerStatus) {
		restarts += int(s.RestartCount)
		if t := s.LastTerminationState.Terminated; t != nil && t.FinishedAt.After(last) {
			last = t.FinishedAt.Time
		}
	}
	for _, s := range p.Status.InitContainerStatuses {
		if sidecar(p, s.Name) {
			total++
			if s.Started != nil && *s.Started && s.Ready {
				ready++
			}
			count(s)
		} else if strings.HasPrefix(state, "Init:") {
			count(s)
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		count(s)
		if s.Ready && s.State.Running != nil {
			ready++
		}
	}
	restarted := strconv.Itoa(restarts)
	if restarts > 0 && !last.IsZero() {
		restarted += fmt.Sprintf(" (%s ago)", duration.HumanDuration(now.Sub(last)))
	}
	gates := "<none>"
	if n := len(p.Spec.ReadinessGates); n > 0 {
		met := 0
		for _, g := range p.Spec.ReadinessGates {
			if slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
				return c.Type == g.ConditionType && c.Status == corev1.ConditionTrue
			}) {
				met++
			}
		}
		gates = fmt.Sprintf("%d/%d", met, n)
	}
	ip := p.Status.PodIP
	if len(p.Status.PodIPs) > 0 {
		ip = p.Status.PodIPs[0].IP
	}
	return []any{
		p.Name, fmt.Sprintf("%d/%d", ready, total), state, restarted, Age(p.CreationTimestamp, now),
		or(ip), or(p.Spec.NodeName), or(p.Status.NominatedNodeName), gates,
	}
}

func sidecar(p *corev1.Pod, name string) bool {
	return slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool {
		return c.Name == name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
	})
}

func podState(p *corev1.Pod) string {
	state := string(p.Status.Phase)
	if p.Status.Reason != "" {
		state = p.Status.Reason
	}
	initializing := false
	for i, s := range p.Status.InitContainerStatuses {
		if t := s.State.Terminated; t != nil && t.ExitCode == 0 || sidecar(p, s.Name) && s.Started != nil && *s.Started {
			continue
		}
		initializing = true
		switch {
		case s.State.Terminated != nil:
			state = "Init:" + ended(s.State.Terminated)
		case s.State.Waiting != nil && s.State.Waiting.Reason != "" && s.State.Waiting.Reason != "PodInitializing":
			state = "Init:" + s.State.Waiting.Reason
		default:
			state = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		break
	}
	if !initializing {
		running := false
		for _, s := range slices.Backward(p.Status.ContainerStatuses) {
			switch {
			case s.State.Waiting != nil && s.State.Waiting.Reason != "":
				state = s.State.Waiting.Reason
			case s.State.Terminated != nil:
				state = ended(s.State.Terminated)
			case s.Ready && s.State.Running != nil:
				running = true
			}
		}
		if state == "Completed" && running {
			state = "NotReady"
			if isTrue(p.Status.Conditions, corev1.PodReady) {
				state = "Running"
			}
		}
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == "NodeLost":
			return "Unknown"
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			return "Terminating"
		}
	}
	return state
}

func isTrue(all []corev1.PodCondition, kind corev1.PodConditionType) bool {
	return slices.ContainsFunc(all, func(c corev1.PodCondition) bool { return c.Type == kind && c.Status == corev1.ConditionTrue })
}

func ended(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

func node(n *corev1.Node, now time.Time) []any {
	state := "Unknown"
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			state = "NotReady"
			if c.Status == corev1.ConditionTrue {
				state = "Ready"
			}
		}
	}
	if n.Spec.Unschedulable {
		state += ",SchedulingDisabled"
	}
	var roles []string
	for label, value := range n.Labels {
		if role, ok := strings.CutPrefix(label, "node-role.kubernetes.io/"); ok && role != "" {
			roles = append(roles, role)
		} else if label == "kubernetes.io/role" && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	address := func(kind corev1.NodeAddressType) string {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
		return "<none>"
	}
	unknown := func(text string) string {
		if text == "" {
			return "<unknown>"
		}
		return text
	}
	info := n.Status.NodeInfo
	return []any{
		n.Name, state, or(strings.Join(slices.Compact(roles), ",")), Age(n.CreationTimestamp, now), info.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP),
		unknown(info.OSImage), unknown(info.KernelVersion), unknown(info.ContainerRuntimeVersion),
	}
}

func external(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var all []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				all = append(all, in.IP)
			} else if in.Hostname != "" {
				all = append(all, in.Hostname)
			}
		}
		if all = append(all, s.Spec.ExternalIPs...); len(all) == 0 {
			return "<pending>"
		}
		return strings.Join(all, ",")
	}
	return or(strings.Join(s.Spec.ExternalIPs, ","))
}

func servicePorts(ports []corev1.ServicePort) string {
	var all []string
	for _, p := range ports {
		text := strconv.Itoa(int(p.Port))
		if p.NodePort > 0 {
			text += ":" + strconv.Itoa(int(p.NodePort))
		}
		all = append(all, text+"/"+string(p.Protocol))
	}
	return strings.Join(all, ",")
}

func slicePorts(ports []discoveryv1.EndpointPort) string {
	if len(ports) == 0 {
		return "<unset>"
	}
	var all []string
	for _, p := range ports {
		switch {
		case p.Port != nil:
			all = append(all, strconv.Itoa(int(*p.Port)))
		case p.Name != nil:
			all = append(all, *p.Name)
		default:
			all = append(all, "*")
		}
	}
	return some(all, 3)
}

func endpoints(list []discoveryv1.Endpoint) string {
	if len(list) == 0 {
		return "<unset>"
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Addresses...)
	}
	return some(all, 3)
}
