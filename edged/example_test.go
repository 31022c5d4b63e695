package edged_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/edgedtest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// An agent runs the pods of its Objects; here those of an API server in memory, on a
// runtime without processes.
func Example() {
	root, err := os.MkdirTemp("", "edged")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	api, rt := edgedtest.NewAPI(), runtimetest.New()
	rt.AddImage("docker.io/library/busybox:latest")
	api.PutPod(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "web-uid"},
		Spec: corev1.PodSpec{
			DNSPolicy:  corev1.DNSDefault,
			Containers: []corev1.Container{{Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent}},
		},
	})
	agent, err := edged.New(edged.Config{
		NodeName: "gate-7", Runtime: rt, Objects: api, Reports: api,
		Root: filepath.Join(root, "edged"), LogRoot: filepath.Join(root, "logs"),
		// However full the disk is on which this runs: no pod is evicted, no image removed.
		Eviction: edged.Eviction{Hard: map[string]string{}}, ImageGC: edged.ImageGC{HighThresholdPercent: 100},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	if err := api.Wait(ctx, func() bool { return api.IsReady("web-uid") }); err != nil {
		fmt.Println(err)
	}
	cancel()
	fmt.Println(rt.Calls(), <-ended)
	// Output: [RunSandbox web CreateContainer main StartContainer main] <nil>
}
