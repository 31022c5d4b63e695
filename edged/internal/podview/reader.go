package podview

import (
	"bytes"
	"context"
	"io"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/regular"
	"github.com/edgekit/edgekit/edged/runtime"
)

// The bounds of termination messages, by the API:
// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
const (
	maxMessage     = 4096
	maxLogMessage  = 2048
	maxLogMessages = 80 // lines
)

// Config sets up a Reader. All fields are required.
type Config struct {
	Runtime runtime.Runtime
	PodDir  func(uid string) string // the folder of a pod's volumes
	LogRoot string                  // the folder of the pods' logs
}

// Reader reads what the runtime has of one pod.
type Reader struct {
	cfg      Config
	view     plan.View
	exited   map[string]runtime.Container // status of exited containers, by id
	messages map[string]string
}

// New makes a Reader.
func New(cfg Config) *Reader {
	return &Reader{cfg: cfg, exited: make(map[string]runtime.Container), messages: make(map[string]string)}
}

// Read lists the pod's sandboxes and containers. With an error what was read before stays.
func (r *Reader) Read(ctx context.Context, pod *corev1.Pod) (plan.View, error) {
	uid := string(pod.UID)
	sandboxes, err := r.cfg.Runtime.ListSandboxes(ctx, uid)
	if err != nil {
		return plan.View{}, err
	}
	listed, err := r.cfg.Runtime.ListContainers(ctx, uid)
	if err != nil {
		return plan.View{}, err
	}
	exited := make(map[string]runtime.Container)
	var containers []runtime.Container
	for _, c := range listed {
		if old, ok := r.exited[c.ID]; ok {
			exited[c.ID] = old
			containers = append(containers, old)
			continue
		}
		full, err := r.cfg.Runtime.ContainerStatus(ctx, c.ID)
		if notfound.Is(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return plan.View{}, err
		}
		full.SandboxID, full.PodUID = c.SandboxID, c.PodUID
		if full.State == runtime.ContainerExited {
			exited[c.ID] = full
			if m := r.terminationMessage(pod, &full); m != "" {
				r.messages[c.ID] = m
			}
		}
		containers = append(containers, full)
	}
	r.exited = exited
	for id := range r.messages {
		if _, ok := exited[id]; !ok {
			delete(r.messages, id)
		}
	}
	v := plan.NewView(sandboxes, containers)
	if sb := v.Sandbox(); sb != nil && sb.Ready {
		if old := r.view.SandboxByID(sb.ID); old != nil && len(old.IPs) > 0 {
			sb.IPs, sb.HostNetwork = old.IPs, old.HostNetwork
		} else if full, err := r.cfg.Runtime.SandboxStatus(ctx, sb.ID); err == nil {
			*sb = full
			sb.PodUID = uid
		} else if !notfound.Is(err) {
			return plan.View{}, err
		}
	}
	r.view = v
	return v, nil
}

// Messages are the termination messages of the containers that have exited, by their ids. They
// must not be changed.
func (r *Reader) Messages() map[string]string { return r.messages }

// terminationMessage reads what a container that exited left: its termination
// message, or the end of its log if the spec asks for that
// (terminationMessagePolicy FallbackToLogsOnError). The path is a note on the
// container and counts only inside the folder of its pod.
func (r *Reader) terminationMessage(pod *corev1.Pod, c *runtime.Container) string {
	file := c.Annotations[runtime.AnnotationTerminationMessage]
	if dir := r.cfg.PodDir(c.PodUID); file != "" && filepath.Dir(filepath.Dir(filepath.Dir(file))) == dir {
		if text, err := readHead(file, maxMessage); err == nil && text != "" {
			return text
		}
	}
	policy := corev1.TerminationMessagePolicy(c.Annotations[runtime.AnnotationTerminationPolicy])
	if policy != corev1.TerminationMessageFallbackToLogsOnError || c.ExitCode == 0 && c.Reason != "OOMKilled" {
		return ""
	}
	log := podlogs.File(r.cfg.LogRoot, pod, c.Name, c.Attempt)
	text, err := crilog.Tail(log, maxLogMessages, maxLogMessage)
	if err != nil {
		return ""
	}
	return text
}

// readHead reads the beginning of a file that a container wrote. It may be
// anything by now, a pipe or a link: only a plain file counts.
func readHead(file string, limit int64) (string, error) {
	f, err := regular.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), err
}
