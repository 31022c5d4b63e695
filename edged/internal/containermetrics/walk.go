package containermetrics

import (
	"os"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// owner is whose a group is: a sandbox or a container of a pod.
type owner struct {
	namespace, pod         string
	container, image, name string
	sandbox                bool
	created                time.Time
}

// owners are those that the runtime knows.
type owners struct {
	byID map[string]owner // of sandboxes and containers
	pods map[string]owner // by the pods' uids
}

// newOwners lists sandboxes and containers by their ids. The pods say by which name an image was
// asked for; the runtime knows its digest only.
func newOwners(sandboxes []runtime.Sandbox, containers []runtime.Container, pods []*corev1.Pod, sandboxImage string) owners {
	o := owners{make(map[string]owner, len(sandboxes)+len(containers)), make(map[string]owner, len(sandboxes))}
	for _, s := range sandboxes {
		o.byID[s.ID] = owner{namespace: s.Namespace, pod: s.Name, name: s.ID, image: sandboxImage, sandbox: true, created: s.Created}
		o.pods[s.PodUID] = owner{namespace: s.Namespace, pod: s.Name}
	}
	specs := make(map[string]*corev1.Pod, len(pods))
	for _, p := range pods {
		specs[string(p.UID)] = p
	}
	for _, c := range containers {
		image := c.Image
		if p := specs[c.PodUID]; p != nil {
			image = imageOf(p, c.Name, image)
		}
		o.byID[c.ID] = owner{
			namespace: c.Labels[runtime.LabelPodNamespace], pod: c.Labels[runtime.LabelPodName],
			container: c.Name, image: image, name: c.ID, created: c.Created,
		}
	}
	return o
}

// imageOf is the image of a container as the pod names it.
func imageOf(p *corev1.Pod, name, otherwise string) string {
	for _, list := range [][]corev1.Container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return list[i].Image
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if p.Spec.EphemeralContainers[i].Name == name {
			return p.Spec.EphemeralContainers[i].Image
		}
	}
	return otherwise
}

// walk lists the groups below that of all pods: the classes of service, the pods that the runtime
// knows, and their sandboxes and containers.
func (r *reader) walk(top string, all owners, visit func(dir string, o owner)) {
	visit(top, owner{})
	for _, name := range r.children(top) {
		dir := top + "/" + name
		switch {
		case isTier(name):
			visit(dir, owner{})
			for _, pod := range r.children(dir) {
				r.walkPod(dir+"/"+pod, pod, all, visit)
			}
		default:
			r.walkPod(dir, name, all, visit)
		}
	}
}

// walkPod lists the groups of a pod.
func (r *reader) walkPod(dir, name string, all owners, visit func(dir string, o owner)) {
	pod, ok := all.pods[podUID(name)]
	if !ok {
		return
	}
	visit(dir, pod)
	for _, child := range r.children(dir) {
		if o, ok := all.byID[containerID(child)]; ok {
			visit(dir+"/"+child, o)
		}
	}
}

// children are the names of the groups below a group.
func (r *reader) children(group string) []string {
	entries, err := os.ReadDir(r.folderOf(group))
	if err != nil {
		return nil // it ended meanwhile
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out
}

// lastPart is the last part of the name of a slice: "kubepods-burstable.slice" is "burstable".
func lastPart(name string) (part string, slice bool) {
	name, slice = strings.CutSuffix(name, ".slice")
	if slice {
		name = name[strings.LastIndexByte(name, '-')+1:]
	}
	return name, slice
}

// isTier reports whether a group is that of a class of service.
func isTier(name string) bool {
	part, _ := lastPart(name)
	return slices.Contains([]string{"burstable", "besteffort"}, part)
}

// podUID is the uid in the name of a pod's group; "" for another group.
func podUID(name string) string {
	part, slice := lastPart(name)
	uid, ok := strings.CutPrefix(part, "pod")
	if !ok {
		return ""
	}
	if slice {
		uid = strings.ReplaceAll(uid, "_", "-")
	}
	return uid
}

// containerID is the id in the name of a container's group, which some runtimes put their own name
// before: "cri-containerd-ID.scope", "crio-ID.scope", "ID".
func containerID(name string) string {
	name = strings.TrimSuffix(name, ".scope")
	return name[strings.LastIndexByte(name, '-')+1:]
}
