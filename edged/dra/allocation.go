package dra

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// resourceClaim is what of a ResourceClaim of resource.k8s.io/v1 matters to a node. Its
// types in k8s.io/api cost an agent more than all of this package.
type resourceClaim struct {
	Metadata struct {
		Namespace       string `json:"namespace"`
		Name            string `json:"name"`
		UID             string `json:"uid"`
		OwnerReferences []struct {
			UID        string `json:"uid"`
			Controller bool   `json:"controller"`
		} `json:"ownerReferences"`
	} `json:"metadata"`
	Status struct {
		Allocation *struct {
			Devices struct {
				Results []result `json:"results"`
			} `json:"devices"`
		} `json:"allocation"`
		ReservedFor []struct {
			UID string `json:"uid"`
		} `json:"reservedFor"`
	} `json:"status"`
}

// result is an allocated device.
type result struct {
	Driver             string   `json:"driver"`
	SkipNodeOperations []string `json:"skipNodeOperations"`
}

// podClaim is a claim as a pod refers to it.
type podClaim struct {
	local string // its name in the pod; "" for the one for extended resources
	name  string
	owned bool // it was made for the pod, of a template
}

// podClaims lists the claims of a pod, also one that is not made yet: that is an error.
// Those that turned out not to be needed are left out.
func podClaims(pod *corev1.Pod) ([]podClaim, error) {
	var out []podClaim
	for _, c := range pod.Spec.ResourceClaims {
		switch {
		case c.ResourceClaimName != nil:
			out = append(out, podClaim{local: c.Name, name: *c.ResourceClaimName})
		case c.ResourceClaimTemplateName != nil:
			i := slices.IndexFunc(pod.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool { return s.Name == c.Name })
			if i < 0 {
				return nil, fmt.Errorf("pod \"%s/%s\": ResourceClaim not created yet", pod.Namespace, pod.Name)
			}
			if name := pod.Status.ResourceClaimStatuses[i].ResourceClaimName; name != nil {
				out = append(out, podClaim{local: c.Name, name: *name, owned: true})
			}
		default:
			return nil, fmt.Errorf("pod \"%s/%s\", spec.resourceClaim %q: none of the supported fields are set", pod.Namespace, pod.Name, c.Name)
		}
	}
	if st := pod.Status.ExtendedResourceClaimStatus; st != nil {
		out = append(out, podClaim{name: st.ResourceClaimName})
	}
	return out, nil
}

// read reads a claim of a pod and checks that the pod may use it, as a kubelet does. What
// it returns is the claim's record with no pod yet.
func (m *Manager) read(ctx context.Context, pod *corev1.Pod, want podClaim) (*record, error) {
	body, err := m.cfg.Claims.ResourceClaim(ctx, pod.Namespace, want.name)
	if err != nil {
		return nil, fmt.Errorf("fetch ResourceClaim %s: %w", want.name, err)
	}
	var c resourceClaim
	if err := jsonlimit.Unmarshal(body, &c); err != nil {
		return nil, fmt.Errorf("fetch ResourceClaim %s: %w", want.name, err)
	}
	uid := string(pod.UID)
	switch {
	case c.Metadata.UID == "" || c.Metadata.Namespace != pod.Namespace || c.Metadata.Name != want.name:
		return nil, fmt.Errorf("fetch ResourceClaim %s: it is %q with the uid %q", want.name, c.Metadata.Namespace+"/"+c.Metadata.Name, c.Metadata.UID)
	case want.owned && !c.controlledBy(uid):
		return nil, fmt.Errorf("ResourceClaim %s/%s was not created for Pod %s/%s (Pod is not owner)", pod.Namespace, want.name, pod.Namespace, pod.Name)
	case !c.reservedFor(uid):
		return nil, fmt.Errorf("pod %s (%s) is not allowed to use ResourceClaim %s (%s)", pod.Name, uid, want.name, c.Metadata.UID)
	case c.Status.Allocation == nil:
		return nil, fmt.Errorf("ResourceClaim %s: not allocated", want.name)
	}
	r := &record{Namespace: pod.Namespace, Name: want.name, UID: c.Metadata.UID}
	r.Drivers = driversOf(c.Status.Allocation.Devices.Results)
	return r, nil
}

func (c *resourceClaim) controlledBy(uid string) bool {
	for _, o := range c.Metadata.OwnerReferences {
		if o.Controller {
			return o.UID == uid
		}
	}
	return false
}

func (c *resourceClaim) reservedFor(uid string) bool {
	for _, r := range c.Status.ReservedFor {
		if r.UID == uid {
			return true
		}
	}
	return false
}

// driversOf lists the drivers of allocated devices, by name. A driver need not be called
// where all of its devices say so.
func driversOf(results []result) []driverRecord {
	skips := func(r result, operation string) bool {
		return slices.Contains(r.SkipNodeOperations, "*") || slices.Contains(r.SkipNodeOperations, operation)
	}
	needs := make(map[string]struct{ prepare, unprepare bool })
	for _, r := range results {
		n := needs[r.Driver]
		n.prepare = n.prepare || !skips(r, "NodePrepareResources")
		n.unprepare = n.unprepare || !skips(r, "NodeUnprepareResources")
		needs[r.Driver] = n
	}
	var out []driverRecord
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		out = append(out, driverRecord{Name: name, SkipPrepare: !needs[name].prepare, SkipUnprepare: !needs[name].unprepare})
	}
	return out
}
