// Package v1 holds the Kubernetes resources for rules, group rules.kubeedge.io,
// version v1:
//
//   - a RuleEndpoint says what kind of place messages come from or go to: the
//     cloud's HTTP (rest), MQTT on a node (eventbus) or HTTP on a node (servicebus),
//   - a Rule joins two of them,
//   - a RuleMessage is one message that waits in the cloud for a node that is away.
//     cloudcore makes and removes it; KubeEdge has no such kind.
//
// The CRDs with all validation are generated from the types; see CRDs. Whether the
// endpoints of a Rule exist cannot be said by a schema: the condition Resolved does.
//
// The package has no state; its functions may be called from anywhere. The Go types
// follow the API's own version: fields are added, never changed.
//
// +kubebuilder:object:generate=true
// +groupName=rules.kubeedge.io
package v1

//go:generate go tool -modfile=../../../.tools/go.mod controller-gen object crd:headerFile= paths=. output:crd:dir=crds
