package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/placement"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podcgroups"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/internal/slots"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
)

// Config sets up a Performer. What is not said to be optional is required.
type Config struct {
	Runtime runtime.Runtime
	Volumes *volume.Manager
	Specs   *podspec.Builder
	Images  *imagepull.Puller
	Node    *nodestatus.Reporter
	Groups  *podcgroups.Groups

	UserNamespaces *userns.Allocator
	Placement      *placement.Placement // nil places nothing
	Devices        *devices.Manager     // nil is a node without device plugins
	Claims         Claims               // nil is a node that cannot prepare resource claims
	Classes        Classes              // nil is a node without runtime classes
	// Gone reports that nothing of a pod is left.
	Gone func(ctx context.Context, pod *corev1.Pod) error

	LogRoot, LogLinks string        // folders of the logs and of the links to them; LogLinks "" makes none
	MaxBackOff        time.Duration // between restarts of a container; 0 means plan.MaxBackOff

	Events        *events.Recorder
	Metrics       *agentmetrics.Metrics
	ResizeMetrics *resize.Metrics
	Trace         func(ctx context.Context, pod *corev1.Pod, step Step) (context.Context, func(error)) // nil traces nothing
	Logger        *slog.Logger
}

// Claims prepares the resource claims of pods. See edged.ResourceClaims.
type Claims interface {
	// Prepare prepares all claims of a pod.
	Prepare(ctx context.Context, pod *corev1.Pod) error
	// CDIDevices lists the CDI devices that a container gets for its claims.
	CDIDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error)
	// Unprepare gives the claims of a pod back.
	Unprepare(ctx context.Context, podUID string) error
}

// Classes reads runtime classes. See edged.RuntimeClassReader.
type Classes interface {
	// RuntimeHandler is the handler that a class names.
	RuntimeHandler(ctx context.Context, class string) (handler string, err error)
}

// Owner owns a pod: it decides, and remembers what came of it. Its methods are called by
// the goroutine that calls Do, and by those that Do waits for.
type Owner interface {
	// Update changes the memory of the pod. Nobody else sees it meanwhile; fn does not block.
	Update(fn func(*Memory))
	// Pulls are the back-offs of the pod's images.
	Pulls() *imagepull.BackOffs
	// RejectDevices says that the pod, of which nothing runs yet, cannot have its devices.
	RejectDevices(err error)
}

// Performer does the actions for the pods of a node. New makes it.
type Performer struct {
	cfg         Config
	stopSlots   slots.Slots // of sandboxes being stopped
	removeSlots slots.Slots // of sandboxes being removed: apart, so that a pod which is nearly gone goes first
}

// New makes a Performer.
func New(cfg Config) *Performer {
	return &Performer{cfg: cfg, stopSlots: slots.New(), removeSlots: slots.New()}
}

// execution is a list of actions under way: what later actions need of earlier
// ones.
type execution struct {
	p       *Performer
	owner   Owner
	s       plan.Situation
	pod     *corev1.Pod // with the addresses of the sandbox in its status
	sandbox *runtime.SandboxConfig
	id      string // of the sandbox
	refused error  // why the sandbox that is there cannot be used; nil if it can
}

// Do performs the actions of a decision in order. A failure ends it where later
// actions build on what failed; the next decision starts from what is then there.
func (p *Performer) Do(ctx context.Context, owner Owner, s plan.Situation, d plan.Decision) {
	r := &execution{p: p, owner: owner, s: s, pod: s.Pod}
	if sb := s.View.Sandbox(); sb != nil && sb.Ready {
		r.useSandbox(*sb)
	}
	retry := d.RetryKey
	for _, a := range d.Actions {
		if ctx.Err() != nil {
			return
		}
		err := r.perform(ctx, a)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		r.p.cfg.Logger.Debug("an action failed", "pod", podspec.Title(s.Pod), "action", a.String(), "err", err)
		var own *startError
		switch isStart := errors.As(err, &own); {
		case isStart && own.reason == plan.ReasonSandboxLost:
			r.lostSandbox(r.id)
			return
		case !isStart:
			if (retry == plan.RetryEnd || a.Kind == plan.ActStopSandbox) && r.pod.Name != "" {
				r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: failed to %s: %v", a.Kind, err))
			}
			r.backOff(retry, setUpRetryFirst, setUpRetryMax)
			return
		}
	}
	r.clearBackOff(retry)
}

// act performs one action.
func (r *execution) act(ctx context.Context, a plan.Action) error {
	rt := r.p.cfg.Runtime
	switch a.Kind {
	case plan.ActSetUp, plan.ActRefreshVolumes:
		return r.setUp(ctx, a.Kind == plan.ActSetUp)
	case plan.ActNoteRestartAll:
		r.owner.Update((*Memory).noteRestartAll)
		return nil
	case plan.ActResize:
		r.resize(ctx)
		return nil
	case plan.ActCreateSandbox:
		return r.createSandbox(ctx, a)
	case plan.ActStart:
		return r.startContainer(ctx, a)
	case plan.ActStartCreated:
		return r.startCreated(ctx, a)
	case plan.ActKill:
		for _, c := range r.s.View.Containers {
			if c.ID == a.ID {
				return r.kill(ctx, c, a.Grace, a.Reason)
			}
		}
		return nil
	case plan.ActKillPod:
		return r.killPod(ctx, a)
	case plan.ActRemove:
		r.removeLog(a.ID)
		return rt.RemoveContainer(ctx, a.ID)
	case plan.ActStopSandbox:
		return r.stopSandbox(ctx, a)
	case plan.ActRemoveSandbox:
		defer r.p.removeSlots.Acquire(ctx)()
		return rt.RemoveSandbox(ctx, a.ID)
	case plan.ActUnprepare:
		return r.p.cfg.Claims.Unprepare(ctx, string(r.pod.UID))
	case plan.ActTearDown:
		return r.tearDown(ctx)
	case plan.ActRemoveLogs:
		if err := r.p.removeLogs(r.pod); err != nil {
			return err
		}
		r.owner.Update(func(m *Memory) { m.LogsRemoved = true })
		return nil
	case plan.ActReportGone:
		if err := r.p.cfg.Gone(ctx, r.pod); err != nil {
			return err
		}
		r.owner.Update(func(m *Memory) { m.GoneReported = true })
		return nil
	}
	return fmt.Errorf("edged: no such action: %s", a.Kind)
}
