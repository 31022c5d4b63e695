package edged_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtimetest"
)

// maxTriesPerMinute bounds the retries of a call that fails for ever. A runtime that does
// not answer is asked each second by the pod's worker, and by pleg.
const maxTriesPerMinute = 125

// failingReports are Reports whose store cannot be written.
type failingReports struct {
	*cloud
	verb  string
	tries atomic.Int64
	on    atomic.Bool
}

func (f *failingReports) fails(verb string) error {
	if verb != f.verb || !f.on.Load() {
		return nil
	}
	f.tries.Add(1)
	return errors.New("no space left on device")
}

func (f *failingReports) PodStatus(ctx context.Context, p *corev1.Pod) error {
	if err := f.fails("PodStatus"); err != nil {
		return err
	}
	return f.cloud.PodStatus(ctx, p)
}

func (f *failingReports) PodGone(ctx context.Context, p *corev1.Pod) error {
	if err := f.fails("PodGone"); err != nil {
		return err
	}
	return f.cloud.PodGone(ctx, p)
}

// TestBoundedRetry makes each call of an agent for a pod fail for ever: while the pod is
// started, while it runs and crashes, and while it ends. The agent keeps trying, with
// pauses, and once the call works the pod starts, or is removed.
func TestBoundedRetry(t *testing.T) {
	verbs := []string{
		"RunSandbox", "StopSandbox", "RemoveSandbox", "CreateContainer", "StartContainer", "StopContainer", "RemoveContainer", "PullImage",
		"read SandboxStatus", "read ListSandboxes", "read ListContainers", "read ContainerStatus", "read ImageStatus", "read ExecSync",
		"report PodStatus", "report PodGone",
	}
	for _, verb := range verbs {
		for _, when := range []string{"made", "crashing", "unhealthy", "finished", "deleted", "forced"} {
			t.Run(verb+" fails while the pod is "+when, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { boundedRetry(t, verb, when) })
			})
		}
	}
}

func boundedRetry(t *testing.T, verb, when string) {
	b := newBench(t)
	reports := &failingReports{cloud: b.cloud}
	var tries atomic.Int64
	fail := func() {
		kind, name, qualified := strings.Cut(verb, " ")
		count := func(call string) error {
			if call != name && !(!qualified && strings.HasPrefix(call, verb+" ")) {
				return nil
			}
			tries.Add(1)
			return errors.New("it does not work")
		}
		switch kind {
		case "report":
			reports.on.Store(true)
		case "read":
			b.rt.FailReadsWith(count)
		default:
			b.rt.FailWith(count)
		}
	}
	if kind, name, _ := strings.Cut(verb, " "); kind == "report" {
		reports.verb = name
	}
	cfg := b.config()
	cfg.Reports = reports
	stop := runAgent(t, cfg)
	settle(time.Second)

	p := newPod("web", busybox("serve"))
	p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways
	switch when {
	case "made":
		fail()
	case "crashing":
		b.rt.Behave("main", runtimetest.Program{RunFor: 2 * time.Second, ExitCode: 1})
	case "unhealthy":
		p.Spec.Containers[0].LivenessProbe = execProbe("live")
		b.rt.ExecWith(fails("live"))
	case "finished":
		p.Spec.RestartPolicy = corev1.RestartPolicyNever
		b.rt.Behave("main", runtimetest.Program{RunFor: 30 * time.Second})
	}
	b.put(p)
	settle(3 * time.Second)
	switch fail(); when {
	case "deleted":
		b.del(p, 1)
	case "forced":
		b.remove(p.UID)
	}
	const minutes = 10
	settle(minutes * time.Minute)
	if n := tries.Load() + reports.tries.Load(); n > minutes*maxTriesPerMinute {
		t.Errorf("%d tries in %d minutes", n, minutes)
	}
	b.rt.FailWith(nil)
	b.rt.FailReadsWith(nil)
	b.rt.ExecWith(nil)
	b.rt.Behave("main", runtimetest.Program{})
	reports.on.Store(false)
	settle(10 * time.Minute) // the longest pause is that after crashes, 5 minutes
	switch st := b.status[p.UID]; when {
	case "deleted":
		if !b.gone[p.UID] {
			t.Errorf("the pod does not go: %+v", st)
		}
	case "finished":
		if st.Phase != corev1.PodSucceeded {
			t.Errorf("the pod is %s", st.Phase)
		}
	case "forced":
	default:
		if !b.isReady(p.UID) {
			t.Errorf("the pod does not come back: %s", asJSON(t, st))
		}
		b.del(p, 0)
		settle(time.Minute)
	}
	if when != "finished" {
		if left, err := b.rt.ListSandboxes(t.Context(), ""); err != nil || len(left) > 0 {
			t.Errorf("left: %+v %v", left, err)
		}
	}
	stop()
}
