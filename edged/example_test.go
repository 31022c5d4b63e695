package edged_test

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

// An agent runs the pods of its Objects; here on a runtime without processes.
func Example() {
	root, err := os.MkdirTemp("", "edged")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	node, runtime := newCloud(), runtimetest.New()
	runtime.AddImage("docker.io/library/busybox:latest")
	node.put(newPod("web", corev1.Container{Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent}))
	agent, err := edged.New(edged.Config{NodeName: "gate-7", Runtime: runtime, Objects: node, Reports: node, Root: root, LogRoot: root + "/logs"})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- agent.Run(ctx) }()
	for ready := false; !ready && ctx.Err() == nil; {
		<-node.poked
		node.mu.Lock()
		ready = node.isReady("web-uid")
		node.mu.Unlock()
	}
	cancel()
	fmt.Println(runtime.Calls(), <-ended)
	// Output: [RunSandbox web CreateContainer main StartContainer main] <nil>
}
