// Package kubeedgeconfig converts configuration files of KubeEdge to those of edgekit: an
// edgecore.yaml (edgecore.config.kubeedge.io, v1alpha1 and v1alpha2) to edgecore's, a
// cloudcore.yaml (cloudcore.config.kubeedge.io/v1alpha1) to cloudcore's.
//
//	result, err := kubeedgeconfig.Convert("edgecore.yaml", text)
//	result.Settings["max-pods"] // "110"
//	result.Notes                // what is not converted, and why
//
// A table decides about each field. The kubelet's fields, below tailoredKubeletConfig, are
// decided by package kubeletconfig, as for a kubelet's own file. A field that no table has is
// in the notes too. Tokens, passwords and keys are never part of a note or a setting.
package kubeedgeconfig
