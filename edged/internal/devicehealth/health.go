package devicehealth

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// AddDevices adds the health of the devices of plugins to the status of a pod. last is the status
// that was last reported; nil if none was. What no plugin has listed in this run is as it was in
// that. A nil manager adds nothing.
func AddDevices(st *corev1.PodStatus, uid string, last *corev1.PodStatus, manager *devices.Manager) {
	if manager == nil {
		return
	}
	for i := range st.ContainerStatuses {
		c := &st.ContainerStatuses[i]
		list := manager.Container(uid, c.Name)
		if old := plan.FindStatus(last, c.Name); len(list) == 0 && old != nil && plan.IsTerminal(st.Phase) {
			c.AllocatedResourcesStatus = old.AllocatedResourcesStatus // others may have the devices by now
		}
		for _, d := range list {
			health := corev1.ResourceHealth{ResourceID: corev1.ResourceID(d.ID), Health: corev1.ResourceHealthStatusUnhealthy}
			switch {
			case !d.Known:
				health.Health = lastHealth(last, c.Name, d)
			case d.Healthy:
				health.Health = corev1.ResourceHealthStatusHealthy
			}
			s := resourceStatus(c, corev1.ResourceName(d.Resource))
			s.Resources = append(s.Resources, health)
		}
	}
}

// resourceStatus finds the health of a resource in the status of a container, and adds an
// empty one the first time.
func resourceStatus(c *corev1.ContainerStatus, name corev1.ResourceName) *corev1.ResourceStatus {
	at := slices.IndexFunc(c.AllocatedResourcesStatus, func(s corev1.ResourceStatus) bool { return s.Name == name })
	if at < 0 {
		at = len(c.AllocatedResourcesStatus)
		c.AllocatedResourcesStatus = append(c.AllocatedResourcesStatus, corev1.ResourceStatus{Name: name})
	}
	return &c.AllocatedResourcesStatus[at]
}

// lastHealth is the health of a device as it was last reported; Healthy if it never was,
// as in a kubelet.
func lastHealth(last *corev1.PodStatus, container string, d devices.Allocated) corev1.ResourceHealthStatus {
	if c := plan.FindStatus(last, container); c != nil {
		for _, s := range c.AllocatedResourcesStatus {
			for _, r := range s.Resources {
				if string(s.Name) == d.Resource && string(r.ResourceID) == d.ID {
					return r.Health
				}
			}
		}
	}
	return corev1.ResourceHealthStatusHealthy
}

// Claims knows the health of the devices of resource claims. See edged.ResourceClaims.
type Claims interface {
	// ResourceStatuses lists the health of the devices that a container gets.
	ResourceStatuses(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
}

// AddClaims adds the health of the devices of its claims to the status of a pod. last is the
// status that was last reported; nil if none was. After the end of the pod it stays as it was in
// that. Nil claims add nothing.
func AddClaims(st *corev1.PodStatus, pod *corev1.Pod, last *corev1.PodStatus, claims Claims) {
	if claims == nil || !podspec.HasClaims(pod) {
		return
	}
	for i := range st.ContainerStatuses {
		c := &st.ContainerStatuses[i]
		spec, _ := podspec.FindContainer(pod, c.Name)
		if spec == nil {
			continue
		}
		now := claims.ResourceStatuses(pod, spec)
		if old := plan.FindStatus(last, c.Name); old != nil {
			now = withLastHealth(now, old.AllocatedResourcesStatus)
		}
		for _, s := range now {
			*resourceStatus(c, s.Name) = s
		}
	}
}

// withLastHealth is the health of claims, for those of which none is known now as it was last.
func withLastHealth(now, last []corev1.ResourceStatus) []corev1.ResourceStatus {
	find := func(list []corev1.ResourceStatus, name corev1.ResourceName) int {
		return slices.IndexFunc(list, func(s corev1.ResourceStatus) bool { return s.Name == name })
	}
	var out []corev1.ResourceStatus
	for _, s := range last { // in the order of before: the same health is not reported again
		if i := find(now, s.Name); i >= 0 {
			s = now[i]
		}
		if strings.HasPrefix(string(s.Name), "claim:") {
			out = append(out, s)
		}
	}
	for _, s := range now {
		if find(out, s.Name) < 0 {
			out = append(out, s)
		}
	}
	return out
}
