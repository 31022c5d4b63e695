// Package kube is the typed face of a node's store, as the pod agent (edged)
// uses it: pods, config maps, secrets, persistent volumes with their claims, and
// service account tokens come from what the node has stored, and reports go to the
// outbox. It satisfies the
// interfaces that edged declares, without importing it.
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
// The pods in a list, and the list itself, are shared by all who receive them
// and must not be changed; DeepCopy is for who must. Config maps, secrets and
// tokens belong to the caller.
//
// # What is missing
//
// An error for something that does not exist wraps meta.ErrNotFound and has a
// method NotFound() bool that reports true. Not existing is a fact that the
// cloud told; not knowing, because the cloud is out of reach and the node has
// never had it, is another error.
//
// The cloud puts the config maps, secrets and claims that the node's pods refer to into
// the store, and says which of them do not exist. It is not asked again
// about these while the link stands: an object that is made later comes by itself.
// Offline the last word of the cloud holds. Where there is none, a store that has
// once been in step (meta.Synced) takes what it lacks for absent from a minute
// after the pod came; any other store does not know.
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
// LastNode and LastPodStatus give back what was last reported, from the outbox,
// which keeps the newest report of each whether the cloud has it or not. A static
// pod is recalled by the mirror that it was reported for.
//
// # Concurrency
//
// All methods may be called by several goroutines at once. Run must run for
// Pods and Changed to deliver.
package kube
