package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/demo/kubectl"
)

// copied is the size of the file that goes to the pod and back.
const copied = 256 << 20

// copies has kubectl cp carry a file into a container of the node and back, and
// gives the rate of the median round.
func (b bench) copies(ctx context.Context, node string, r *results) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.serviceAccount(ctx); err != nil {
		return err
	}
	pod := benchPod("tools", node)
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: devcluster.ToolsImage, ImagePullPolicy: corev1.PullIfNotPresent, Stdin: true}}
	pods := b.client.CoreV1().Pods(benchNamespace)
	if _, err := pods.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "edgekit-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // of a temporary folder
	file := filepath.Join(dir, "there")
	if err := os.WriteFile(file, make([]byte, copied), 0o600); err != nil {
		return err
	}
	err = until(ctx, func(ctx context.Context) (bool, error) {
		p, err := pods.Get(ctx, pod.Name, metav1.GetOptions{})
		return err == nil && podReady(p), err
	})
	if err != nil {
		return fmt.Errorf("pod %s: %w", pod.Name, err)
	}
	var all []float64
	for range b.opts.Copies {
		took, err := roundTrip(ctx, b.kubectl, file, benchNamespace+"/"+pod.Name+":/tmp/file", filepath.Join(dir, "back"))
		if err != nil {
			return err
		}
		rate := 2 * copied / took.Seconds() / 1e6
		fmt.Printf("  %s: %d MiB there and back in %v, %.0f MB/s\n", node, copied>>20, took.Round(time.Millisecond), rate)
		all = append(all, rate)
	}
	slices.Sort(all)
	r.copyRate = all[len(all)/2]
	if err := pods.Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
		return err
	}
	return until(ctx, func(ctx context.Context) (bool, error) {
		list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: benchLabel + "=" + node})
		return err == nil && len(list.Items) == 0, err
	})
}

func roundTrip(ctx context.Context, k kubectl.Client, file, remote, back string) (time.Duration, error) {
	began := time.Now()
	for _, ends := range [][2]string{{file, remote}, {remote, back}} {
		if _, err := k.Run(ctx, "", "cp", ends[0], ends[1]); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// until asks five times a second.
func until(ctx context.Context, done wait.ConditionWithContextFunc) error {
	return wait.PollUntilContextCancel(ctx, 200*time.Millisecond, true, done)
}
