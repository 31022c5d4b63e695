package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/kubectl"
)

// bench measures agents on one cluster.
type bench struct {
	opts    options
	client  kubernetes.Interface
	kubectl kubectl.Client
}

// results are what was measured of an agent.
type results struct {
	start     time.Duration // the median
	rssMiB    float64       // idle, without pods
	binaryMiB float64
	rounds    []round // of pods
	copyRate  float64 // of kubectl cp, MB/s
}

// round is what was measured with so many pods.
type round struct {
	pods             int
	rssMiB           float64       // with the pods running
	cpu              float64       // of one CPU with the pods at rest, in percent; the last round has it
	ready50, ready99 time.Duration // create to Ready
	gone50, gone99   time.Duration // delete to gone
}

// measure takes all metrics of one agent. Each start is that of a node which
// the API server does not know yet; the last one stays for the rest.
func (b bench) measure(ctx context.Context, a agent) (results, error) {
	var r results
	var starts []time.Duration
	var last process.Record
	var node string
	for i := range b.opts.Starts {
		if i > 0 {
			if err := b.remove(ctx, a, node); err != nil {
				return r, err
			}
		}
		node = a.node(i + 1)
		if err := a.prepare(ctx, node); err != nil {
			return r, err
		}
		took, rec, err := b.startOnce(ctx, a, node)
		if err != nil {
			return r, err
		}
		fmt.Printf("  %s: node %s Ready %v after exec\n", a.name, node, took.Round(time.Millisecond))
		starts, last = append(starts, took), rec
	}
	slices.Sort(starts)
	r.start = starts[len(starts)/2]
	info, err := os.Stat(a.program())
	if err != nil {
		return r, err
	}
	r.binaryMiB = float64(info.Size()) / (1 << 20)
	for i, n := range b.opts.Pods {
		if n <= 0 {
			continue
		}
		if r.rssMiB == 0 {
			if r.rssMiB, err = b.idle(ctx, a, last); err != nil {
				return r, err
			}
		}
		p := podRound{node: node, round: i, pods: n, rests: i == len(b.opts.Pods)-1}
		one, err := b.pods(ctx, p, last)
		if err != nil {
			return r, err
		}
		r.rounds = append(r.rounds, one)
	}
	if b.opts.Copies > 0 {
		if err := b.copies(ctx, node, &r); err != nil {
			return r, err
		}
	}
	return r, b.remove(ctx, a, node)
}

// startOnce starts the agent and waits for its node through a watch that
// began before.
func (b bench) startOnce(ctx context.Context, a agent, node string) (time.Duration, process.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := b.client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + node})
	if err != nil {
		return 0, process.Record{}, err
	}
	defer w.Stop()
	began := time.Now()
	rec, err := a.start(ctx, node)
	if err != nil {
		return 0, rec, err
	}
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				return 0, rec, fmt.Errorf("the watch of node %s ended before it was Ready", node)
			}
			if n, ok := e.Object.(*corev1.Node); ok && nodeReady(n) {
				return time.Since(began), rec, nil
			}
		case <-ctx.Done():
			return 0, rec, fmt.Errorf("node %s is not Ready: %w", node, context.Cause(ctx))
		}
	}
}

func nodeReady(n *corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// idle waits and reads the agent's memory.
func (b bench) idle(ctx context.Context, a agent, rec process.Record) (float64, error) {
	fmt.Printf("  %s: idle for %v\n", a.name, b.opts.Idle)
	timer := time.NewTimer(b.opts.Idle)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	return rec.ResidentMiB()
}

// remove ends the agent and its node.
func (b bench) remove(ctx context.Context, a agent, node string) error {
	if err := a.stop(ctx); err != nil {
		return err
	}
	return b.client.CoreV1().Nodes().Delete(ctx, node, metav1.DeleteOptions{})
}
