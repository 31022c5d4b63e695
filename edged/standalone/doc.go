// Package standalone is for a node that has no API server: it implements edged.Objects
// and edged.Reports with nothing above them. The pods then come from a folder of
// manifests, edged.Config.StaticPodDir, and what happens to them is in the log.
//
//	node := standalone.New(logger)
//	agent, err := edged.New(edged.Config{
//		NodeName: "gate-7", Runtime: runtime, Objects: node, Reports: node, StaticPodDir: "/etc/edgekit/pods",
//	})
//
// No pod of such a node may refer to a config map, a secret or a service account token:
// there are none, and its containers wait with CreateContainerConfigError. The kubelet
// has the same rule for static pods
// (https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/).
//
// A Node may be used by several goroutines at once. The package follows the module's
// version; what is exported is stable from 1.0 on.
package standalone
