package edged_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/shutdown/shutdowntest"
)

// releases is a cloud with a durable ReleaseStore.
type releases struct {
	*cloud
	mu   sync.Mutex
	uids map[types.UID]bool
	err  error
}

func (r *releases) Release(_ context.Context, uid types.UID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	r.uids[uid] = true
	return nil
}

func (r *releases) Released(_ context.Context, uid types.UID) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uids[uid], r.err
}

func (r *releases) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

func heldPod(name string) *corev1.Pod {
	p := newPod(name, busybox("serve"))
	p.Annotations = map[string]string{edged.HoldUpgradeAnnotation: "true"}
	return p
}

// heldState is what the cloud sees of a pod: "held", "running" or another phase.
func (b *bench) heldState(uid types.UID) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status[uid]
	c := conditionIn(st, edged.ConditionHeldUpgrade)
	switch {
	case c != nil && c.Status == corev1.ConditionTrue && c.Reason == "HoldUpgradeEnabled" && st.Phase == corev1.PodPending && st.ContainerStatuses[0].State.Waiting.Reason == "HeldUpgrade":
		return "held"
	case c == nil && st.Phase == corev1.PodRunning:
		return "running"
	}
	return string(st.Phase)
}

// TestHoldUpgrade holds a new pod over a restart of the agent until it is released, which
// is durable; its replacement waits again.
func TestHoldUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		store := &releases{cloud: b.cloud, uids: make(map[types.UID]bool)}
		start := func() *edged.Agent {
			cfg := b.config()
			cfg.Objects = store
			return b.startAgent(cfg)
		}
		web, other := heldPod("web"), newPod("other", busybox("serve"))
		b.put(web)
		b.put(other)
		agent := start()
		want := func(when string, uid types.UID, state string) {
			t.Helper()
			settle(5 * time.Second)
			if got := b.heldState(uid); got != state {
				t.Fatalf("%s: %s, want %s", when, got, state)
			}
		}
		want("at first", web.UID, "held")
		want("one without the annotation", other.UID, "running")
		if err := agent.Unhold(t.Context(), "default", "other"); !errors.Is(err, edged.ErrNotHeld) {
			t.Errorf("release of one that runs: %v", err)
		}
		var none *edged.NoPodError
		if err := agent.Unhold(t.Context(), "default", "none"); !errors.As(err, &none) || !none.NotFound() {
			t.Errorf("release of one that is not there: %v", err)
		}
		b.stop()
		agent = start()
		want("after a restart", web.UID, "held")
		store.fail(errors.New("no disk"))
		if err := agent.Unhold(t.Context(), "default", "web"); err == nil || !strings.Contains(err.Error(), "no disk") {
			t.Errorf("release without a disk: %v", err)
		}
		want("not released", web.UID, "held")
		store.fail(nil)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "RunSandbox") {
				return errors.New("no network")
			}
			return nil
		})
		if err := agent.Unhold(t.Context(), "default", "web"); err != nil {
			t.Fatal(err)
		}
		settle(3 * time.Second)
		b.stop() // before anything of the pod is there
		b.rt.FailWith(nil)
		agent = start()
		settle(time.Minute)
		want("released before the restart", web.UID, "running")
		b.rt.Exit("main", 1)
		settle(time.Minute)
		want("after a crash", web.UID, "running")
		next := heldPod("next")
		b.put(next)
		want("a replacement", next.UID, "held")
		if names, err := agent.UnholdAll(t.Context()); err != nil || !slices.Equal(names, []string{"default/next"}) {
			t.Errorf("all: %q, %v", names, err)
		}
		want("all are released", next.UID, "running")
		if b.happened("UpgradeHeld") == 0 || b.happened("UpgradeReleased") == 0 {
			t.Errorf("events %q", b.events)
		}
		b.stop()
	})
}

// TestHoldEnds lets pods go by their time limit, by a removed annotation, and by deletion; a
// bad limit is none, and an event says so.
func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		limited, bad, off := heldPod("limited"), heldPod("bad"), heldPod("off")
		limited.Annotations[edged.HoldTimeoutAnnotation] = "30m"
		bad.Annotations[edged.HoldTimeoutAnnotation] = "soon"
		off.Annotations[edged.HoldUpgradeAnnotation] = "false"
		for _, p := range []*corev1.Pod{limited, bad, off} {
			b.put(p)
		}
		b.start()
		settle(29 * time.Minute)
		for p, state := range map[*corev1.Pod]string{limited: "held", bad: "held", off: "running"} {
			if got := b.heldState(p.UID); got != state {
				t.Errorf("%s is %s, want %s", p.Name, got, state)
			}
		}
		if n := b.happened("InvalidHoldTimeout"); n != 1 {
			t.Errorf("%d events about the bad limit", n)
		}
		settle(2 * time.Minute)
		if got := b.heldState(limited.UID); got != "running" {
			t.Errorf("past its limit it is %s", got)
		}
		free := bad.DeepCopy()
		free.Annotations = nil
		b.put(free)
		settle(5 * time.Second)
		if got := b.heldState(bad.UID); got != "running" {
			t.Errorf("without the annotation it is %s", got)
		}
		gone := heldPod("gone")
		b.put(gone)
		settle(5 * time.Second)
		b.del(gone, 1)
		settle(5 * time.Second)
		b.stop()
	})
}

// TestHoldAfterShutdown: a static pod that was released is not held again after the machine
// was shut down, even if the runtime has lost all of it.
func TestHoldAfterShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		logind := &shutdowntest.Logind{Delay: time.Minute}
		cfg := b.config()
		cfg.StaticPodDir = t.TempDir()
		cfg.Shutdown = edged.Shutdown{GracePeriod: 30 * time.Second, Dial: logind.Dial, ConfigDir: t.TempDir()}
		held := strings.Replace(manifest, "{name: web}", `{name: web, annotations: {`+edged.HoldUpgradeAnnotation+`: "true"}}`, 1)
		if err := os.WriteFile(filepath.Join(cfg.StaticPodDir, "web.yaml"), []byte(held), 0o600); err != nil {
			t.Fatal(err)
		}
		agent := b.startAgent(cfg)
		settle(10 * time.Second)
		if names, err := agent.UnholdAll(t.Context()); err != nil || len(names) != 1 {
			t.Fatalf("%q, %v", names, err)
		}
		settle(10 * time.Second)
		if mirror := mirrorOf(b.cloud); mirror == nil || !isReady(b, mirror.UID) {
			t.Fatalf("it does not run: %+v", mirror)
		}
		if err := logind.Prepare(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if err := logind.WaitLocks(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		b.stop()
		containers, err := b.rt.ListContainers(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range containers {
			if err := b.rt.RemoveContainer(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
		}
		boxes, err := b.rt.ListSandboxes(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, box := range boxes {
			b.rt.ForgetSandbox(box.ID)
		}
		cfg.Shutdown = edged.Shutdown{}
		b.startAgent(cfg) // after the boot
		settle(time.Minute)
		if mirror := mirrorOf(b.cloud); mirror == nil || !isReady(b, mirror.UID) {
			t.Errorf("it does not run after the boot: %+v", mirror)
		}
		b.stop()
	})
}

// TestHoldClock: a start that the node stamped before it knew the time does not end the hold.
func TestHoldClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := heldPod("limited")
		p.Annotations[edged.HoldTimeoutAnnotation] = "30m"
		p.CreationTimestamp = metav1.Now()
		p.Status.StartTime = &metav1.Time{Time: time.Unix(100, 0)}
		b.put(p)
		b.start()
		settle(29 * time.Minute)
		if got := b.heldState(p.UID); got != "held" {
			t.Errorf("before its limit it is %s", got)
		}
		settle(2 * time.Minute)
		if got := b.heldState(p.UID); got != "running" {
			t.Errorf("past its limit it is %s", got)
		}
		b.stop()
	})
}
