package prober

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/probemetrics"
	"github.com/edgekit/edgekit/edged/probe"
	"github.com/edgekit/edgekit/edged/runtime"
)

// maxProbeText bounds what events show of a probe's answer.
const maxProbeText = 900

// Executor runs the commands of probes. A runtime.Runtime is one.
type Executor interface {
	// ExecSync runs a command in a container, and waits for its end.
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (runtime.ExecResult, error)
}

// Config sets up a Prober. All fields are required.
type Config struct {
	Executor Executor
	HostIPs  func() []string // the node's addresses, the primary one first
	Events   *events.Recorder
	Logger   *slog.Logger
}

// Prober runs the probes of all pods of a node, and counts their results. It may be used
// by several goroutines.
type Prober struct {
	cfg Config

	Counter probemetrics.Counter // of the results
}

// New makes a Prober.
func New(cfg Config) *Prober { return &Prober{cfg: cfg} }

// Pod makes the Pod of one pod. changed is called by goroutines of the Pod when a probe has
// found out something new, and must not block.
func (p *Prober) Pod(changed func()) *Pod {
	return &Pod{prober: p, changed: changed, probes: make(map[string]*probing)}
}

// Pod runs the probes of one pod. It belongs to one goroutine, which calls Stop last.
type Pod struct {
	prober  *Prober
	changed func()
	probes  map[string]*probing // by the id of the container
}

// Situation is what Follow looks at.
type Situation struct {
	Pod    *corev1.Pod
	View   plan.View
	Last   *corev1.PodStatus // as last reported; nil if it never was
	Ending plan.Ending
}

// probing is the probes of one running container.
type probing struct {
	cancel   context.CancelFunc
	restarts context.CancelFunc // ends the probes that may have the container restarted
	wg       sync.WaitGroup

	mu      sync.Mutex
	started bool
	ready   bool
	failed  string
	grace   time.Duration
}

// Follow starts the probes of containers that run and ends those of
// containers that no longer do. While the pod ends only readiness is probed, as in
// a kubelet: a container that is being stopped may well be unhealthy.
func (p *Pod) Follow(ctx context.Context, s Situation) {
	running := make(map[string]bool)
	for _, c := range s.View.Containers {
		if c.State != runtime.ContainerRunning {
			continue
		}
		running[c.ID] = true
		if run := p.probes[c.ID]; run != nil {
			if s.Ending != plan.EndNone {
				run.restarts()
			}
			continue
		}
		if spec, _ := podspec.FindContainer(s.Pod, c.Name); spec != nil && (spec.StartupProbe != nil || spec.LivenessProbe != nil || spec.ReadinessProbe != nil) {
			p.probes[c.ID] = p.start(ctx, s, spec, c)
			if s.Ending != plan.EndNone {
				p.probes[c.ID].restarts()
			}
		}
	}
	for id, run := range p.probes {
		if !running[id] {
			run.end()
			delete(p.probes, id)
		}
	}
}

// Stop ends all probes and joins them.
func (p *Pod) Stop() {
	for id, run := range p.probes {
		run.end()
		delete(p.probes, id)
	}
}

// end ends the probes of a container and joins them.
func (r *probing) end() {
	r.cancel()
	r.wg.Wait()
}

// start runs the probes of a container: the startup probe alone until it
// succeeds, then the others (KEP-950).
// https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
func (p *Pod) start(ctx context.Context, s Situation, c *corev1.Container, run runtime.Container) *probing {
	ctx, cancel := context.WithCancel(ctx)
	restarting, restarts := context.WithCancel(ctx)
	r := &probing{cancel: cancel, restarts: restarts, started: c.StartupProbe == nil, ready: c.ReadinessProbe == nil}
	if last := plan.FindStatus(s.Last, c.Name); last != nil && last.State.Running != nil && strings.HasSuffix(last.ContainerID, "://"+run.ID) {
		// An adopted container is as it was last reported, until a probe says otherwise:
		// a restart of the agent must not take a Service's endpoints away.
		r.ready = r.ready || last.Ready
		r.started = r.started || last.Started != nil && *last.Started
	}
	pod, address := s.Pod, p.addressOf(s.Pod, s.View)
	target := func() probe.Target {
		return probe.Target{IP: address(), Ports: c.Ports, Exec: p.exec(run.ID)}
	}
	one := func(ctx context.Context, kind string, cfg probe.Config, report func(ok bool, detail string)) {
		count := p.prober.Counter.Track(pod, c.Name, kind)
		defer count.Forget()
		cfg.Target, cfg.Started, cfg.Answered, cfg.Asked = target, run.Started, count.Answered, count.Asked
		cfg.Report = func(ok bool, detail string) {
			r.mu.Lock()
			report(ok, detail)
			r.mu.Unlock()
			p.changed()
		}
		warn := func(reason, what, detail string) {
			p.prober.cfg.Events.Container(pod, c.Name, corev1.EventTypeWarning, reason, fmt.Sprintf("%s probe %s: %s", kind, what, events.Truncate(detail, maxProbeText)))
		}
		cfg.Failed = func(detail string) { warn("Unhealthy", "failed", detail) }
		cfg.Warned = func(detail string) { warn("ProbeWarning", "warning", detail) }
		cfg.Errored = func(err error) {
			count.Errored()
			warn("Unhealthy", "could not be made, which says nothing of the container", err.Error())
		}
		if err := probe.Run(ctx, cfg); err != nil {
			p.prober.cfg.Logger.Error("a probe cannot run", "pod", podspec.Title(pod), "container", c.Name, "err", err)
		}
	}
	// The grace period of a probe replaces that of the pod (KEP-2238).
	fail := func(pr *corev1.Probe, kind string) func(bool, string) {
		return func(ok bool, _ string) {
			if ok {
				return
			}
			r.failed = fmt.Sprintf("Container %s failed %s probe", c.Name, kind)
			if s := pr.TerminationGracePeriodSeconds; s != nil {
				r.grace = time.Duration(*s) * time.Second
			}
		}
	}
	// One goroutine for the startup probe, which then starts the other two: they must not
	// run before it has succeeded.
	r.wg.Go(func() {
		if pr := c.StartupProbe; pr != nil && !r.started {
			bad := fail(pr, "startup")
			one(restarting, "Startup", probe.Config{Probe: pr, UntilOK: true, UntilFailed: true}, func(ok bool, d string) { r.started = r.started || ok; bad(ok, d) })
			r.mu.Lock()
			started := r.started
			r.mu.Unlock()
			if !started {
				return
			}
		}
		if pr := c.LivenessProbe; pr != nil {
			r.wg.Go(func() {
				one(restarting, "Liveness", probe.Config{Probe: pr, OK: true, UntilFailed: true}, fail(pr, "liveness"))
			})
		}
		if pr := c.ReadinessProbe; pr != nil {
			r.wg.Go(func() {
				one(ctx, "Readiness", probe.Config{Probe: pr, OK: r.ready}, func(ok bool, _ string) { r.ready = ok })
			})
		}
	})
	return r
}

// addressOf gives the address that the pod's probes connect to. That of a pod in
// the host's network is the node's, which may change while the pod runs. The function lives as
// long as the probes, and so holds nothing of the view.
func (p *Pod) addressOf(pod *corev1.Pod, v plan.View) func() string {
	own := ""
	if sb := v.Sandbox(); sb != nil && len(sb.IPs) > 0 {
		own = sb.IPs[0]
	}
	return func() string {
		if pod.Spec.HostNetwork {
			if ips := p.prober.cfg.HostIPs(); len(ips) > 0 {
				return ips[0]
			}
		}
		return own
	}
}

// exec runs the command of a probe in a container.
func (p *Pod) exec(id string) func(context.Context, []string, time.Duration) (string, int, error) {
	return func(ctx context.Context, cmd []string, timeout time.Duration) (string, int, error) {
		res, err := p.prober.cfg.Executor.ExecSync(ctx, id, cmd, timeout)
		if err != nil {
			return "", 0, err
		}
		return string(append(res.Stdout, res.Stderr...)), int(res.ExitCode), nil
	}
}

// Health is what plan.Decide needs to know of the running container with this id.
func (p *Pod) Health(id string) plan.Health {
	r := p.probes[id]
	if r == nil {
		return plan.Health{Started: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return plan.Health{Started: r.started, Failed: r.failed, Grace: r.grace}
}

// Readiness is what the status needs to know of the running container with this id.
func (p *Pod) Readiness(id string) plan.Readiness {
	r := p.probes[id]
	if r == nil {
		return plan.Readiness{Started: true, Ready: true}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return plan.Readiness{Started: r.started, Ready: r.started && r.ready}
}
