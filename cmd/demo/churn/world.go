package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/edgekit/edgekit/cmd/demo/site"
)

const (
	namespace = "churn"
	label     = "edgekit-churn" // its value is the pod's kind
	longest   = 20 * time.Second
	patience  = 5 * time.Minute // for a pod to be gone, or in the phase it should come to
)

// world has the pods.
type world struct {
	opts    options
	pods    typed.PodInterface
	events  typed.EventInterface
	kinds   []kind
	judge   *judge
	calls   calls
	created atomic.Int64
	rmu     sync.Mutex
	random  *rand.Rand // guarded by rmu

	restartRuntime func(context.Context) error
}

// newWorld makes the namespace of the pods.
func newWorld(ctx context.Context, s *site.Site, opts options) (*world, error) {
	client, err := s.Clientset()
	if err != nil {
		return nil, err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	err = until(ctx, time.Minute, func() error { // no pod is admitted, and no volume has the map, before
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		if err == nil {
			_, err = client.CoreV1().ConfigMaps(namespace).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all := kinds()
	return &world{
		opts: opts, pods: client.CoreV1().Pods(namespace), events: client.CoreV1().Events(namespace), kinds: all, judge: newJudge(all),
		restartRuntime: s.RestartRuntime,
		random:         rand.New(rand.NewPCG(opts.Seed, 0)),
	}, nil
}

// live starts and deletes the pods, and returns when all are gone.
func (w *world) live(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(w.opts.Alive)
	for i := range w.opts.Pods {
		k := w.kinds[w.roll(len(w.kinds))]
		lived := time.Duration(w.roll(int(longest)))
		grace := int64(w.roll(4)) // 0 takes the object away at once
		group.Go(func() error { return w.life(ctx, fmt.Sprintf("p%d", i), k, lived, grace) })
		if ctx.Err() != nil {
			break
		}
	}
	return group.Wait()
}

func (w *world) roll(n int) int {
	w.rmu.Lock()
	defer w.rmu.Unlock()
	return w.random.IntN(n)
}

func (w *world) life(ctx context.Context, name string, k kind, lived time.Duration, grace int64) error {
	if err := w.create(ctx, name, k); err != nil {
		return err
	}
	if n := w.created.Add(1); n%50 == 0 {
		fmt.Printf("  %d pods started, %d wrong\n", n, len(w.judge.found()))
	}
	if err := sleep(ctx, lived); err != nil {
		return err
	}
	return w.delete(ctx, name, grace)
}

func (w *world) create(ctx context.Context, name string, k kind) error {
	grace := int64(2)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: labelOf(k)}}, Spec: *k.spec.DeepCopy()}
	pod.Spec.NodeName, pod.Spec.TerminationGracePeriodSeconds = nodeName, &grace
	pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	if _, err := w.pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create pod %s: %w", name, err)
	}
	return nil
}

// delete deletes the pod and waits until it is gone. One that stays is wrong, and
// no reason to end the run.
func (w *world) delete(ctx context.Context, name string, grace int64) error {
	err := w.pods.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &grace})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete pod %s: %w", name, err)
	}
	gone := func() error {
		p, err := w.pods.Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		return fmt.Errorf("pod %s is %s", name, p.Status.Phase)
	}
	err = until(ctx, patience, gone)
	if errors.Is(err, errPatience) && w.lostByRuntime(ctx, name) {
		fmt.Printf("  pod %s stays: containerd lists a container as ended whose task runs; it is started anew\n", name)
		if err := w.restartRuntime(ctx); err != nil {
			return err
		}
		err = until(ctx, patience, gone)
	}
	if errors.Is(err, errPatience) {
		w.judge.add("pod %s is not gone %v after it was deleted", name, patience)
		return nil
	}
	return err
}

// lostByRuntime reports that containerd, killed while it started a container of the pod, lists
// that container as ended and refuses to remove it because its task runs. No CRI client can
// mend that; containerd does when it starts anew (its restart.go: such a container is unknown,
// and is stopped before it is removed).
func (w *world) lostByRuntime(ctx context.Context, name string) bool {
	list, err := w.events.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name + ",reason=FailedKillPod"})
	if err != nil {
		return false
	}
	return slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
		return strings.Contains(e.Message, "cannot delete running task")
	})
}

// settle starts one pod of each kind when the trouble is over, and waits until
// each has come to what its kind comes to. Then all are deleted.
func (w *world) settle(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, k := range w.kinds {
		group.Go(func() error {
			name := fmt.Sprintf("last%d", i)
			if err := w.create(ctx, name, k); err != nil {
				return err
			}
			err := until(ctx, patience, func() error {
				p, err := w.pods.Get(ctx, name, metav1.GetOptions{})
				if err == nil && (p.Status.Phase != k.end || len(p.Status.ContainerStatuses) == 0) {
					err = fmt.Errorf("pod %s (%s) is %s, and should become %s", name, k.name, p.Status.Phase, k.end)
				}
				return err
			})
			if errors.Is(err, errPatience) {
				w.judge.add("%v", err)
			} else if err != nil {
				return err
			}
			return w.delete(ctx, name, 1)
		})
	}
	return group.Wait()
}

var errPatience = errors.New("waited in vain")

// until calls f until it returns nil, and gives up after so long with an error
// that wraps errPatience and tells the last one of f.
func until(ctx context.Context, most time.Duration, f func() error) error {
	end := time.NewTimer(most)
	defer end.Stop()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-end.C:
			return fmt.Errorf("%w for %v: %w", errPatience, most, err)
		case <-tick.C:
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
