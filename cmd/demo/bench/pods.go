package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/process"
)

const (
	benchNamespace = "default"
	benchLabel     = "edgekit-bench"
)

// podRound says which pods are measured together.
type podRound struct {
	node        string
	round, pods int
	rests       bool // CPU is measured while they run
}

// pods creates pods at a fixed pace on the node, waits until all are Ready,
// deletes them and waits until all are gone. Times are those at which this
// program, watching the API server, learned of each.
func (b bench) pods(ctx context.Context, p podRound, rec process.Record) (r round, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute+time.Duration(p.pods)*5*time.Second+2*b.opts.Rest)
	defer cancel()
	r.pods = p.pods
	if err := b.serviceAccount(ctx); err != nil {
		return r, err
	}
	w, err := b.client.CoreV1().Pods(benchNamespace).Watch(ctx, metav1.ListOptions{LabelSelector: benchLabel + "=" + p.node})
	if err != nil {
		return r, err
	}
	defer w.Stop()
	created, ready, err := b.createAll(ctx, w, p)
	if err != nil {
		return r, err
	}
	if r.rssMiB, err = rec.ResidentMiB(); err != nil {
		return r, err
	}
	if p.rests {
		if r.cpu, err = b.rest(ctx, rec); err != nil {
			return r, err
		}
	}
	gone, deleted, err := b.deleteAll(ctx, w, created)
	if err != nil {
		return r, err
	}
	r.ready50, r.ready99 = quantile(created, ready, 0.5), quantile(created, ready, 0.99)
	r.gone50, r.gone99 = quantile(deleted, gone, 0.5), quantile(deleted, gone, 0.99)
	return r, nil
}

// rest measures how much of one CPU the agent uses while nothing happens, in percent.
func (b bench) rest(ctx context.Context, rec process.Record) (float64, error) {
	fmt.Printf("  at rest for %v\n", b.opts.Rest*3/2)
	pause := func(d time.Duration) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := pause(b.opts.Rest / 2); err != nil { // until what the starts left to do is done
		return 0, err
	}
	before, err := rec.CPUTime()
	if err != nil {
		return 0, err
	}
	if err := pause(b.opts.Rest); err != nil {
		return 0, err
	}
	after, err := rec.CPUTime()
	return 100 * (after - before).Seconds() / b.opts.Rest.Seconds(), err
}

// createAll creates the pods and waits until all are Ready.
func (b bench) createAll(ctx context.Context, w watch.Interface, p podRound) (created, ready map[string]time.Time, err error) {
	created, ready = make(map[string]time.Time), make(map[string]time.Time)
	pods := b.client.CoreV1().Pods(benchNamespace)
	pace := time.NewTicker(b.opts.Gap)
	defer pace.Stop()
	for len(ready) < p.pods {
		select {
		case <-pace.C:
			if len(created) == p.pods {
				pace.Stop()
				continue
			}
			name := fmt.Sprintf("%s-%d-%d", p.node, p.round, len(created))
			created[name] = time.Now()
			if _, err := pods.Create(ctx, benchPod(name, p.node), metav1.CreateOptions{}); err != nil {
				return nil, nil, err
			}
		case e, open := <-w.ResultChan():
			if !open {
				return nil, nil, fmt.Errorf("the watch ended with %d of %d pods Ready", len(ready), p.pods)
			}
			if p, ok := e.Object.(*corev1.Pod); ok && podReady(p) && ready[p.Name].IsZero() {
				ready[p.Name] = time.Now()
			}
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%d of %d pods Ready: %w", len(ready), p.pods, context.Cause(ctx))
		}
	}
	return created, ready, nil
}

// serviceAccount waits until the namespace has its default service account,
// without which no pod is admitted.
func (b bench) serviceAccount(ctx context.Context) error {
	var last error
	if err := until(ctx, func(ctx context.Context) (bool, error) {
		_, last = b.client.CoreV1().ServiceAccounts(benchNamespace).Get(ctx, "default", metav1.GetOptions{})
		return last == nil, nil
	}); err != nil {
		return errors.Join(err, last)
	}
	return nil
}

func (b bench) deleteAll(ctx context.Context, w watch.Interface, created map[string]time.Time) (gone, deleted map[string]time.Time, err error) {
	gone, deleted = make(map[string]time.Time), make(map[string]time.Time)
	for name := range created {
		deleted[name] = time.Now()
		if err := b.client.CoreV1().Pods(benchNamespace).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			return nil, nil, err
		}
	}
	for len(gone) < len(created) {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return nil, nil, fmt.Errorf("the watch ended with %d of %d pods gone", len(gone), len(created))
			}
			if p, ok := e.Object.(*corev1.Pod); ok && e.Type == watch.Deleted {
				gone[p.Name] = time.Now()
			}
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("%d of %d pods gone: %w", len(gone), len(created), context.Cause(ctx))
		}
	}
	return gone, deleted, nil
}

func benchPod(name, node string) *corev1.Pod {
	grace := int64(1)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{benchLabel: node}},
		Spec: corev1.PodSpec{
			NodeName:                      node,
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "web", Image: devcluster.WebImage, ImagePullPolicy: corev1.PullIfNotPresent}},
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		},
	}
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// quantile returns the q-th of the times from a to b, key by key, by the
// nearest rank below.
func quantile(a, b map[string]time.Time, q float64) time.Duration {
	var all []time.Duration
	for key, end := range b {
		if start, ok := a[key]; ok {
			all = append(all, end.Sub(start))
		}
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return all[int(q*float64(len(all)-1))]
}
