package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed autonomy.yaml
var autonomyYAML string

const staticPod = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "own", "namespace": "demo", "labels": {"app": "own"}},
"spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "web", "image": "edgekit.local/web:1", "imagePullPolicy": "IfNotPresent"}]}}`

// fewKills is how often edgecore is killed when that is one test among others.
const fewKills = 6

// TestAutonomy is the long version, "make e2e-autonomy": AUTONOMY_KILLS says how
// often edgecore is killed.
func TestAutonomy(t *testing.T) {
	kills, err := strconv.Atoi(os.Getenv("AUTONOMY_KILLS"))
	if err != nil || kills < 1 {
		t.Skip("AUTONOMY_KILLS is not set: make e2e-autonomy")
	}
	s := newSite(t)
	story(t, s)
	if t.Failed() {
		return
	}
	t.Run("policies", func(t *testing.T) { policies(t, s) })
	t.Run("certificate ends", func(t *testing.T) { certificateEnds(t, s) })
	t.Run("full disk", func(t *testing.T) { fullDisk(t, s) })
	t.Run("token ends", func(t *testing.T) { tokenEnds(t, s) })
	t.Run("autonomy", func(t *testing.T) { autonomy(t, s, kills) })
	t.Run("power cut", func(t *testing.T) { powerCut(t, s) })
	t.Run("given up", func(t *testing.T) { givenUp(t, s) })
}

// autonomy cuts the node off, changes the world in the cloud, restarts the
// container runtime, and mends the cable, while edgecore is killed at random
// moments all along. Whatever should have lived through that must be the very
// processes that were there before; all else must be as the cloud wants it.
func autonomy(t *testing.T, s *site.Site, kills int) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute+time.Duration(kills)*5*time.Second)
	defer cancel()
	k := newKube(t, s)
	if err := os.MkdirAll(s.StaticPods(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.StaticPods(), "own.json"), []byte(staticPod), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run(ctx, autonomyYAML, "apply", "-f", "-")
	for app, n := range map[string]int{"keep": 2, "drop": 1, "grow": 1, "own": 1} {
		k.ready(ctx, app, n)
	}
	dropped := containersOf(k.pods(ctx, "drop"))
	before := processes(ctx, t, s)
	for id := range dropped {
		if _, ok := before[id]; !ok {
			t.Fatalf("container %s of pod drop does not run", id)
		}
		delete(before, id)
	}
	delete(before, sandboxOf(ctx, t, s, k.pods(ctx, "drop")[0]))

	hunt := startKiller(ctx, t, s, kills)
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	k.run(ctx, "", "-n", tour.Namespace, "delete", "deployment", "drop", "--wait=false")
	k.run(ctx, "", "-n", tour.Namespace, "scale", "deployment", "grow", "--replicas=3")
	k.run(ctx, "", "-n", tour.Namespace, "patch", "configmap", "settings", "-p", `{"data":{"mode":"after"}}`)
	k.run(ctx, "", "-n", tour.Namespace, "patch", "secret", "key", "-p", `{"stringData":{"key":"after"}}`)
	k.run(ctx, "", "-n", tour.Namespace, "patch", "device", tour.Device, "--type=json", "-p",
		`[{"op":"replace","path":"/spec/properties/1/desired/value","value":"29"}]`)
	hunt.wait(ctx, kills/3)
	if err := s.RestartRuntime(ctx); err != nil {
		t.Fatal(err)
	}
	hunt.wait(ctx, 2*kills/3)
	mended := time.Now()
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	hunt.wait(ctx, kills)
	hunt.end()
	quiet := time.Now()

	k.ready(ctx, "grow", 3)
	k.ready(ctx, "keep", 2)
	k.until(ctx, func() error {
		if left := k.pods(ctx, "drop"); len(left) > 0 {
			return fmt.Errorf("pod %s is left", left[0].Name)
		}
		if got := k.run(ctx, "", "-n", tour.Namespace, "get", "devicestatus", tour.Device, "-o",
			`jsonpath={.status.twins[?(@.propertyName=="target")].reported.value}`); !strings.HasPrefix(got, "29") {
			return fmt.Errorf("the device reports %q", got)
		}
		for _, pod := range k.pods(ctx, "keep") {
			for path, want := range map[string]string{"/config/mode": "after", "/secret/key": "after"} {
				if got, err := s.Fetch(ctx, site.FromHost, pod.Status.PodIP, "/file?p="+path); err != nil || strings.TrimSpace(got) != want {
					return fmt.Errorf("pod %s shows %q in %s: %w", pod.Name, got, path, err)
				}
			}
		}
		return nil
	})
	await(ctx, t, s, whole)
	after := processes(ctx, t, s)
	lost := restarted(t, before, after)
	if extra := len(after) - len(before); extra != 4 { // two pods more of grow
		t.Errorf("%d containers more than those that lived, want 4", extra)
	}
	for _, pod := range append(append(k.pods(ctx, "keep"), k.pods(ctx, "own")...), k.pods(ctx, tour.App)...) {
		if pod.DeletionTimestamp != nil || pod.Status.ContainerStatuses[0].RestartCount != 0 {
			t.Errorf("pod %s: restarted %d times, ending %v", pod.Name, pod.Status.ContainerStatuses[0].RestartCount, pod.DeletionTimestamp)
		}
	}
	t.Logf("RESULT autonomy_kills %d count", kills)
	t.Logf("RESULT autonomy_containers_restarted %d count", lost)
	t.Logf("RESULT autonomy_in_step %.1f seconds after the last kill, %.1f after the link was back", time.Since(quiet).Seconds(), time.Since(mended).Seconds())
}

// powerCut takes the power from a node that has no link, and gives it back: all
// pods run again, by what the node remembers.
func powerCut(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	k := newKube(t, s)
	before := len(processes(ctx, t, s))
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.KillEdge(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.PowerCut(ctx); err != nil {
		t.Fatal(err)
	}
	if left := processes(ctx, t, s); len(left) != 0 {
		t.Fatalf("%d containers survived the power cut", len(left))
	}
	began := time.Now()
	if _, err := s.StartEdge(tour.Node); err != nil {
		t.Fatal(err)
	}
	k.until(ctx, func() error {
		if n := len(processes(ctx, t, s)); n != before {
			return fmt.Errorf("%d containers run, want %d", n, before)
		}
		return nil
	})
	t.Logf("%d containers run again %v after edgecore started, with no link", before, time.Since(began).Round(100*time.Millisecond))
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	for app, n := range map[string]int{"keep": 2, "grow": 3, "own": 1} {
		k.ready(ctx, app, n)
	}
}

// givenUp abandons the node while it is away: its pods end in the API server,
// and are replaced. When it comes back it ends them too, and runs what is new.
func givenUp(t *testing.T, s *site.Site) {
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	k := newKube(t, s)
	old := make(map[string]bool)
	for _, pod := range k.pods(ctx, "keep") {
		old[string(pod.UID)] = true
	}
	if _, err := s.Run(ctx, "edgectl", "--kubeconfig", s.Kubeconfig(), "node", "abandon", tour.Node); err == nil {
		t.Fatal("a node that is connected was given up")
	}
	if err := s.Network().Cut(ctx); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, s, func(n *corev1.Node) bool { return condition(n, connected) == corev1.ConditionFalse })
	out, err := s.Run(ctx, "edgectl", "--kubeconfig", s.Kubeconfig(), "node", "abandon", tour.Node)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	k.until(ctx, func() error {
		pods := k.pods(ctx, "keep")
		for _, pod := range pods {
			if old[string(pod.UID)] || pod.Spec.NodeName != "" {
				return fmt.Errorf("pod %s is still on the node", pod.Name)
			}
		}
		if len(pods) != 2 {
			return fmt.Errorf("%d pods in place of those that were lost", len(pods))
		}
		return nil
	})
	if err := s.Network().Mend(ctx); err != nil {
		t.Fatal(err)
	}
	k.ready(ctx, "keep", 2)
	k.ready(ctx, "own", 1)
	await(ctx, t, s, whole)
	if err := os.RemoveAll(s.StaticPods()); err != nil { // its pod and mirror go
		t.Fatal(err)
	}
	k.until(ctx, func() error {
		if left := k.pods(ctx, "own"); len(left) > 0 {
			return fmt.Errorf("mirror %s is left", left[0].Name)
		}
		return nil
	})
}

// killer kills edgecore again and again, and starts it at once.
type killer struct {
	t     *testing.T
	kills chan struct{} // one value for each kill; closed when the killer ends
	seen  int           // how many of them wait has taken
	stop  context.CancelFunc
}

func startKiller(ctx context.Context, t *testing.T, s *site.Site, kills int) *killer {
	ctx, stop := context.WithCancel(ctx)
	k := &killer{t: t, kills: make(chan struct{}, kills), stop: stop}
	go func() {
		defer close(k.kills)
		for n := 1; n <= kills; n++ {
			select {
			case <-ctx.Done():
				return
			case <-time.After(rand.N(1500 * time.Millisecond)):
			}
			err := s.KillEdge(ctx)
			if err == nil {
				_, err = s.StartEdge(tour.Node)
			}
			if err != nil {
				t.Errorf("kill %d: %v", n, err)
				return
			}
			k.kills <- struct{}{}
		}
	}()
	t.Cleanup(k.end)
	return k
}

// wait waits until edgecore has been killed n times.
func (k *killer) wait(ctx context.Context, n int) {
	k.t.Helper()
	for ; k.seen < n; k.seen++ {
		select {
		case _, ok := <-k.kills:
			if !ok {
				k.t.Fatalf("the killer ended after kill %d, want %d", k.seen, n)
			}
		case <-ctx.Done():
			k.t.Fatalf("waited in vain for kill %d of %d", k.seen+1, n)
		}
	}
}

// end joins the killer; the last edgecore runs on.
func (k *killer) end() {
	k.stop()
	for range k.kills { // until it is closed
	}
}
