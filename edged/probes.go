package edged

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/probe"
	"github.com/edgekit/edgekit/edged/runtime"
)

// maxProbeText bounds what events show of a probe's answer.
const maxProbeText = 900

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

// followProbes starts the probes of containers that run and ends those of
// containers that no longer do. While the pod ends only readiness is probed, as in
// a kubelet: a container that is being stopped may well be unhealthy.
func (w *worker) followProbes(ctx context.Context, end plan.Ending) {
	running := make(map[string]bool)
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	for _, c := range w.view.Containers {
		if c.State != runtime.ContainerRunning {
			continue
		}
		running[c.ID] = true
		if p := w.probes[c.ID]; p != nil {
			if end != plan.EndNone {
				p.restarts()
			}
			continue
		}
		if spec, _ := podspec.FindContainer(pod, c.Name); spec != nil && (spec.StartupProbe != nil || spec.LivenessProbe != nil || spec.ReadinessProbe != nil) {
			w.probes[c.ID] = w.startProbes(ctx, pod, spec, c)
			if end != plan.EndNone {
				w.probes[c.ID].restarts()
			}
		}
	}
	for id, p := range w.probes {
		if !running[id] {
			p.cancel()
			p.wg.Wait()
			delete(w.probes, id)
		}
	}
}

// stopProbes ends all probes and joins them.
func (w *worker) stopProbes() {
	for id, p := range w.probes {
		p.cancel()
		p.wg.Wait()
		delete(w.probes, id)
	}
}

// startProbes runs the probes of a container: the startup probe alone until it
// succeeds, then the others (KEP-950).
// https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/
func (w *worker) startProbes(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run runtime.Container) *probing {
	ctx, cancel := context.WithCancel(ctx)
	restarting, restarts := context.WithCancel(ctx)
	p := &probing{cancel: cancel, restarts: restarts, started: c.StartupProbe == nil, ready: c.ReadinessProbe == nil}
	if last := plan.FindStatus(w.last, c.Name); last != nil && last.State.Running != nil && strings.HasSuffix(last.ContainerID, "://"+run.ID) {
		// An adopted container is as it was last reported, until a probe says otherwise:
		// a restart of the agent must not take a Service's endpoints away.
		p.ready = p.ready || last.Ready
		p.started = p.started || last.Started != nil && *last.Started
	}
	address := w.addressOf(pod)
	target := func() probe.Target {
		return probe.Target{IP: address(), Ports: c.Ports, Exec: w.execProbe(run.ID)}
	}
	one := func(ctx context.Context, kind string, cfg probe.Config, report func(ok bool, detail string)) {
		count := w.a.probeCounter.Track(pod, c.Name, kind)
		defer count.Forget()
		cfg.Target, cfg.Started, cfg.Answered, cfg.Asked = target, run.Started, count.Answered, count.Asked
		cfg.Report = func(ok bool, detail string) {
			p.mu.Lock()
			report(ok, detail)
			p.mu.Unlock()
			w.wakeUp()
		}
		warn := func(reason, what, detail string) {
			w.a.events.Container(pod, c.Name, corev1.EventTypeWarning, reason, fmt.Sprintf("%s probe %s: %s", kind, what, events.Truncate(detail, maxProbeText)))
		}
		cfg.Failed = func(detail string) { warn("Unhealthy", "failed", detail) }
		cfg.Warned = func(detail string) { warn("ProbeWarning", "warning", detail) }
		cfg.Errored = func(err error) {
			count.Errored()
			warn("Unhealthy", "could not be made, which says nothing of the container", err.Error())
		}
		if err := probe.Run(ctx, cfg); err != nil {
			w.a.log.Error("a probe cannot run", "pod", podspec.Title(pod), "container", c.Name, "err", err)
		}
	}
	// The grace period of a probe replaces that of the pod (KEP-2238).
	fail := func(pr *corev1.Probe, kind string) func(bool, string) {
		return func(ok bool, _ string) {
			if ok {
				return
			}
			p.failed = fmt.Sprintf("Container %s failed %s probe", c.Name, kind)
			if s := pr.TerminationGracePeriodSeconds; s != nil {
				p.grace = time.Duration(*s) * time.Second
			}
		}
	}
	// One goroutine for the startup probe, which then starts the other two: they must not
	// run before it has succeeded.
	p.wg.Go(func() {
		if pr := c.StartupProbe; pr != nil && !p.started {
			bad := fail(pr, "startup")
			one(restarting, "Startup", probe.Config{Probe: pr, UntilOK: true, UntilFailed: true}, func(ok bool, d string) { p.started = p.started || ok; bad(ok, d) })
			p.mu.Lock()
			started := p.started
			p.mu.Unlock()
			if !started {
				return
			}
		}
		if pr := c.LivenessProbe; pr != nil {
			p.wg.Go(func() {
				one(restarting, "Liveness", probe.Config{Probe: pr, OK: true, UntilFailed: true}, fail(pr, "liveness"))
			})
		}
		if pr := c.ReadinessProbe; pr != nil {
			p.wg.Go(func() {
				one(ctx, "Readiness", probe.Config{Probe: pr, OK: p.ready}, func(ok bool, _ string) { p.ready = ok })
			})
		}
	})
	return p
}

// addressOf gives the address that the pod's probes connect to. That of a pod in
// the host's network is the node's, which may change while the pod runs.
func (w *worker) addressOf(pod *corev1.Pod) func() string {
	own := ""
	if sb := w.view.Sandbox(); sb != nil && len(sb.IPs) > 0 {
		own = sb.IPs[0]
	}
	return func() string {
		if pod.Spec.HostNetwork {
			if ips := w.a.node.Addresses(); len(ips) > 0 {
				return ips[0]
			}
		}
		return own
	}
}

// execProbe runs the command of a probe in a container.
func (w *worker) execProbe(id string) func(context.Context, []string, time.Duration) (string, int, error) {
	return func(ctx context.Context, cmd []string, timeout time.Duration) (string, int, error) {
		res, err := w.a.cfg.Runtime.ExecSync(ctx, id, cmd, timeout)
		if err != nil {
			return "", 0, err
		}
		return string(append(res.Stdout, res.Stderr...)), int(res.ExitCode), nil
	}
}

// healthOf is what plan.Decide needs to know of a running container.
func (w *worker) healthOf(c runtime.Container) plan.Health {
	p := w.probes[c.ID]
	if p == nil {
		return plan.Health{Started: true}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return plan.Health{Started: p.started, Failed: p.failed, Grace: p.grace}
}

// readinessOf is what the status needs to know of a running container.
func (w *worker) readinessOf(c runtime.Container) plan.Readiness {
	p := w.probes[c.ID]
	if p == nil {
		return plan.Readiness{Started: true, Ready: true}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return plan.Readiness{Started: p.started, Ready: p.started && p.ready}
}
