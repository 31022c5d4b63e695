// Package podview reads what the container runtime has of a pod, as package plan wants it, and
// what its containers left when they exited.
//
//	r := podview.New(podview.Config{Runtime: runtime, PodDir: volumes.PodDir, LogRoot: root})
//	view, err := r.Read(ctx, pod)
//	text := r.Messages()[container.ID] // the termination message
//
// The status of a container that has exited does not change any more, and is asked for once. A
// Reader belongs to one goroutine.
package podview
