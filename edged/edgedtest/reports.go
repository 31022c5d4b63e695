package edgedtest

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
)

var _ interface {
	edged.Reports
	edged.LastReports
	edged.Mirrorer
} = (*API)(nil)

// Node is that of edged.Reports.
func (a *API) Node(_ context.Context, node *corev1.Node) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.node = node.DeepCopy()
	a.markReportedLocked()
	return nil
}

// PodStatus is that of edged.Reports.
func (a *API) PodStatus(_ context.Context, pod *corev1.Pod) error {
	if pod.UID == "" {
		return errNoUID
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses[pod.UID] = pod.Status.DeepCopy()
	a.markReportedLocked()
	return nil
}

// PodGone is that of edged.Reports.
func (a *API) PodGone(_ context.Context, pod *corev1.Pod) error {
	if pod.UID == "" {
		return errNoUID
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gone[pod.UID] = true
	a.removePodLocked(pod.UID)
	a.markReportedLocked()
	return nil
}

// Event is that of edged.Reports.
func (a *API) Event(_ context.Context, event *corev1.Event) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, event.DeepCopy())
	a.markReportedLocked()
	return nil
}

// LastNode is that of edged.LastReports.
func (a *API) LastNode(context.Context) (*corev1.Node, error) {
	if node := a.ReportedNode(); node != nil {
		return node, nil
	}
	return nil, &notFoundError{"report of the node"}
}

// LastPodStatus is that of edged.LastReports.
func (a *API) LastPodStatus(_ context.Context, pod *corev1.Pod) (*corev1.PodStatus, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	uid := pod.UID
	if i := slices.IndexFunc(a.pods, func(o *corev1.Pod) bool { return o.Annotations[corev1.MirrorPodAnnotationKey] == string(pod.UID) }); i >= 0 {
		uid = a.pods[i].UID // a static pod is reported under the uid of its mirror
	}
	if st := a.statuses[uid]; st != nil {
		return st.DeepCopy(), nil
	}
	return nil, &notFoundError{"status of pod " + pod.Namespace + "/" + pod.Name}
}

// MirrorPod is that of edged.Mirrorer. As in an API server, the mirror gets a uid of
// its own; one that is there already stays.
func (a *API) MirrorPod(_ context.Context, pod *corev1.Pod) error {
	a.mu.Lock()
	there := slices.ContainsFunc(a.pods, func(o *corev1.Pod) bool { return o.Namespace == pod.Namespace && o.Name == pod.Name })
	pod = pod.DeepCopy()
	pod.UID = types.UID(fmt.Sprintf("mirror-%s-%d", pod.Name, a.version))
	a.mu.Unlock()
	if !there {
		a.PutPod(pod)
	}
	return nil
}
