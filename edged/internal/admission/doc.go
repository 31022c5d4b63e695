// Package admission decides whether a node takes a pod, by the kubelet's rules:
// resources, host ports, node labels and taints, sysctls, AppArmor, and the features
// that a node declares. It is pure. A pod that is rejected becomes Failed, so that
// its controller replaces it at once; nothing is rejected here that a kubelet takes.
//
//	if r := (admission.Request{Pod: pod, Others: others, Allocatable: allocatable}).Decide(); r != nil {
//		// the pod is rejected, with r.Reason and r.Message
//	}
package admission
