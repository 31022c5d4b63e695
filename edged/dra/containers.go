package dra

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// CDIDevices lists the CDI devices that a container of a pod gets: those of the claims that
// it names, or of the requests in them, and those of its extended resources (KEP-5004). An
// error says which claim is not prepared.
func (m *Manager) CDIDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error) {
	requests, err := requestsOf(pod, c)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, want := range requests {
		have, ok := m.find(pod, want.claim)
		if !ok {
			return nil, fmt.Errorf("unable to get claim info for ResourceClaim %s in namespace %s: it is not prepared", want.claim, pod.Namespace)
		}
		for _, d := range have.Devices {
			if !want.takes(d) {
				continue
			}
			for _, name := range d.CDI {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
		}
	}
	return out, nil
}

// ContainerClaims lists the claims that a container of a pod uses and that are prepared, each
// with the devices that the container gets. What it returns must not be changed.
func (m *Manager) ContainerClaims(pod *corev1.Pod, c *corev1.Container) []Claim {
	requests, err := requestsOf(pod, c)
	if err != nil {
		return nil
	}
	var out []Claim
	for _, want := range requests {
		have, ok := m.find(pod, want.claim)
		if !ok {
			continue
		}
		i := slices.IndexFunc(out, func(o Claim) bool { return o.UID == have.UID })
		if i < 0 {
			i = len(out)
			out = append(out, Claim{Namespace: have.Namespace, Name: have.Name, UID: have.UID})
		}
		for _, d := range have.Devices {
			same := func(o Device) bool {
				return o.Driver == d.Driver && o.Pool == d.Pool && o.Name == d.Name && o.ShareID == d.ShareID
			}
			if want.takes(d) && !slices.ContainsFunc(out[i].Devices, same) {
				out[i].Devices = append(out[i].Devices, d)
			}
		}
	}
	return out
}

// containerRequest is a request in a claim that a container names.
type containerRequest struct{ claim, request string } // "" is all requests

func (r containerRequest) takes(d Device) bool {
	return r.request == "" || len(d.Requests) == 0 || slices.Contains(d.Requests, r.request)
}

// requestsOf lists what a container names of the pod's claims.
func requestsOf(pod *corev1.Pod, c *corev1.Container) ([]containerRequest, error) {
	if len(c.Resources.Claims) == 0 && pod.Status.ExtendedResourceClaimStatus == nil {
		return nil, nil
	}
	all, err := podClaims(pod)
	if err != nil {
		return nil, err
	}
	var out []containerRequest
	for _, named := range c.Resources.Claims {
		for _, have := range all {
			if have.local == named.Name && have.local != "" {
				out = append(out, containerRequest{have.name, named.Request})
			}
		}
	}
	if st := pod.Status.ExtendedResourceClaimStatus; st != nil {
		for _, mapped := range st.RequestMappings {
			if q := c.Resources.Requests[corev1.ResourceName(mapped.ResourceName)]; mapped.ContainerName == c.Name && !q.IsZero() {
				out = append(out, containerRequest{st.ResourceClaimName, mapped.RequestName})
			}
		}
	}
	return out, nil
}

// find gives a prepared claim of a pod by name.
func (m *Manager) find(pod *corev1.Pod, name string) (Claim, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.claims {
		if r := c.record; r.Name == name && r.Namespace == pod.Namespace && r.Prepared && slices.Contains(r.Pods, string(pod.UID)) {
			return r.view(), true
		}
	}
	return Claim{}, false
}
