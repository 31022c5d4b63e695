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

// pods creates pods at a fixed pace on the node, waits until all are Ready,
// deletes them and waits until all are gone. Times are those at which this
// program, watching the API server, learned of each.
func (b bench) pods(ctx context.Context, node string, rec process.Record, r *results) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.serviceAccount(ctx); err != nil {
		return err
	}
	pods := b.client.CoreV1().Pods(benchNamespace)
	w, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: benchLabel + "=" + node})
	if err != nil {
		return err
	}
	defer w.Stop()
	created := make(map[string]time.Time)
	ready := make(map[string]time.Time)
	pace := time.NewTicker(b.opts.Gap)
	defer pace.Stop()
	for len(ready) < b.opts.Pods {
		select {
		case <-pace.C:
			if len(created) == b.opts.Pods {
				pace.Stop()
				continue
			}
			name := fmt.Sprintf("%s-%d", node, len(created))
			created[name] = time.Now()
			if _, err := pods.Create(ctx, benchPod(name, node), metav1.CreateOptions{}); err != nil {
				return err
			}
		case e, open := <-w.ResultChan():
			if !open {
				return fmt.Errorf("the watch ended with %d of %d pods Ready", len(ready), b.opts.Pods)
			}
			if p, ok := e.Object.(*corev1.Pod); ok && podReady(p) && ready[p.Name].IsZero() {
				ready[p.Name] = time.Now()
			}
		case <-ctx.Done():
			return fmt.Errorf("%d of %d pods Ready: %w", len(ready), b.opts.Pods, context.Cause(ctx))
		}
	}
	if r.rssPodsMiB, err = rec.ResidentMiB(); err != nil {
		return err
	}
	gone, deleted, err := b.deleteAll(ctx, w, created)
	if err != nil {
		return err
	}
	r.ready50, r.ready99 = quantile(created, ready, 0.5), quantile(created, ready, 0.99)
	r.gone50 = quantile(deleted, gone, 0.5)
	return nil
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
