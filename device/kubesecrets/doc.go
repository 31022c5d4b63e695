// Package kubesecrets gives a mapper in a pod the Secrets that its devices refer to. It reads them
// from the Kubernetes API with the pod's service account; on an edge node that is the node's own
// API. It needs no client-go.
//
//	secrets, err := kubesecrets.New(kubesecrets.Config{})
//	...
//	err = device.Run(ctx, device.Config{Secrets: secrets, ...})
//
// # Rights
//
// The service account needs the right "get" of each Secret, in the namespace of the devices:
//
//	apiVersion: rbac.authorization.k8s.io/v1
//	kind: Role
//	metadata: {name: modbus-mapper, namespace: plant}
//	rules:
//	- {apiGroups: [""], resources: [secrets], resourceNames: [boiler], verbs: [get]}
//
// # Without the cloud
//
// A value that was read is kept in memory, and used while the API does not answer, so that a
// device can be opened again. A mapper that starts while the node is offline gets the Secrets that
// the node holds: those that a pod on it refers to. So have the mapper's pod refer to the Secret,
// as a volume with optional: true, if devices must work after a restart without the cloud. A refusal
// (the Secret is gone, the right was withdrawn) ends the use of the kept value.
//
// # Concurrency
//
// All methods may be called by several goroutines at once.
package kubesecrets
