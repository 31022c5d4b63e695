package groups

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kind is a kind of objects that an application may have.
type kind struct {
	schema.GroupVersionKind
	resource string
	copies   bool // each site has its own
	max      int  // how long a name may be
}

func (k *kind) gvr() schema.GroupVersionResource { return k.GroupVersion().WithResource(k.resource) }

// kinds lists the kinds that an application may have. All live in a namespace, and whoever has
// Kubernetes' own role edit in a namespace may make each of them there: so nobody who got the
// right to make applications with that role can make by one what he could not make himself.
func kinds() []kind {
	of := func(group, version, name, resource string, copies bool, limit int) kind {
		return kind{GroupVersionKind: schema.GroupVersionKind{Group: group, Version: version, Kind: name}, resource: resource, copies: copies, max: limit}
	}
	return []kind{
		of("apps", "v1", "Deployment", "deployments", true, 253),
		of("apps", "v1", "StatefulSet", "statefulsets", true, 52), // the pods have a label with the name and a hash
		of("apps", "v1", "DaemonSet", "daemonsets", true, 253),
		of("batch", "v1", "Job", "jobs", true, 63),
		of("batch", "v1", "CronJob", "cronjobs", true, 52),
		of("", "v1", "Service", "services", false, 63),
		of("", "v1", "ConfigMap", "configmaps", false, 253),
		of("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", false, 253),
		of("", "v1", "ServiceAccount", "serviceaccounts", false, 253),
		of("networking.k8s.io", "v1", "Ingress", "ingresses", false, 253),
		of("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", false, 253),
		of("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", false, 253),
		of("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", false, 253),
	}
}

// kindOf returns a kind; nil if an application may not have it.
func kindOf(apiVersion, name string) *kind {
	all := kinds()
	for i := range all {
		if k := &all[i]; k.Kind == name && k.GroupVersion().String() == apiVersion {
			return k
		}
	}
	return nil
}
