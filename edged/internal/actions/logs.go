package actions

import (
	"errors"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// LinkLog makes the link to the log of a container that has started. Collectors
// that read no links lose nothing by a failure.
func (p *Performer) LinkLog(pod *corev1.Pod, container string, attempt uint32, id string) {
	file := podlogs.File(p.cfg.LogRoot, pod, container, attempt)
	if err := podlogs.Link(p.cfg.LogLinks, file, pod, container, id); err != nil {
		p.cfg.Logger.Warn("cannot make a link to a container's log", "pod", podspec.Title(pod), "container", container, "err", err)
	}
}

// removeLogs removes the logs of a pod, and the links to them.
func (p *Performer) removeLogs(pod *corev1.Pod) error {
	return errors.Join(podlogs.UnlinkPod(p.cfg.LogLinks, p.cfg.LogRoot, pod), podlogs.Remove(p.cfg.LogRoot, pod))
}

// removeLog removes the log of a container that is removed.
func (r *execution) removeLog(id string) {
	for _, c := range r.s.View.Containers {
		if c.ID == id && filepath.IsLocal(c.Name) && r.pod.Name != "" {
			// Logs are no promise: what cannot be removed goes with the pod.
			_ = podlogs.RemoveFile(podlogs.File(r.p.cfg.LogRoot, r.pod, c.Name, c.Attempt))
			_ = podlogs.Unlink(r.p.cfg.LogLinks, r.pod, c.Name, c.ID)
		}
	}
}
