// Package kube gives the objects in a node's store their Kubernetes types, for the pod
// agent (edged): pods, config maps, secrets, persistent volumes with their claims, and
// service account tokens are read from what the node has stored, and reports go to the
// outbox. It satisfies the interfaces that edged declares, without importing it.
//
//	c, err := kube.New(kube.Config{Store: store, Manager: m, Node: "gate-7"})
//	// in one goroutine: err = c.Run(ctx)
//	pods, err := c.Pods(ctx)
//	for list := range pods {
//		// ... the full list, at the start and after every change ...
//	}
//
// # What is shared
//
// The pods in a list, and the list itself, are shared by all receivers and must not be
// changed; use DeepCopy to change one. Config maps, secrets and tokens belong to the
// caller.
//
// # What is missing
//
// An error for something that does not exist wraps meta.ErrNotFound and has a method
// NotFound() bool that reports true. That means that the cloud said so. An object that
// the node never had while the cloud is out of reach gives another error.
//
// The cloud puts the config maps, secrets and claims that the node's pods refer to into
// the store, and says which of them do not exist. The cloud is not asked again about
// these while the link stands: it sends an object that is created later by itself.
// Offline, the cloud's last answer holds. Without one, a store that was in step with the
// cloud once (meta.Synced) treats an object that it lacks as absent, from a minute after
// the pod came; any other store does not know.
//
// # Tokens
//
// A service account token is kept in the store and used until 80 % of its life
// are over. Then the cloud is asked, and as long as it cannot be reached the
// last token stays in use, expired or not. Refresh, called when the link stands
// again, has those that are due renewed at once. The tokens bound to a pod go
// with the pod.
//
// # After a restart
//
// LastNode and LastPodStatus give back what was last reported, from the outbox, which
// keeps the newest report of each whether the cloud has it or not. A static pod is found
// by the mirror pod under which it was reported.
//
// # Concurrency
//
// All methods may be called by several goroutines at once. Run must run for
// Pods and Changed to deliver.
package kube
