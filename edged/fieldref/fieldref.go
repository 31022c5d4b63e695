// Package fieldref resolves the downward API: what a pod may know of itself,
// as environment variables or files. Its functions are pure.
//
//	name, err := fieldref.Field(pod, "metadata.labels['app']")
//	cpu, err := fieldref.Resource(&pod.Spec.Containers[0], "limits.cpu", resource.MustParse("1m"), allocatable)
//
// The paths and their meaning are those of Kubernetes' downward API.
package fieldref

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field reads a field of the pod, its metadata, spec or status, as text.
func Field(pod *corev1.Pod, path string) (string, error) {
	if head, key, ok := subscript(path); ok {
		switch head {
		case "metadata.annotations":
			return pod.Annotations[key], nil
		case "metadata.labels":
			return pod.Labels[key], nil
		}
		return "", fmt.Errorf("fieldref: %q: only metadata.labels and metadata.annotations have keys", path)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return pairs(pod.Labels), nil
	case "metadata.annotations":
		return pairs(pod.Annotations), nil
	case "spec.nodeName":
		return pod.Spec.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return pod.Status.HostIP, nil
	case "status.hostIPs":
		var ips []string
		for _, ip := range pod.Status.HostIPs {
			ips = append(ips, ip.IP)
		}
		return strings.Join(ips, ","), nil
	case "status.podIP":
		return pod.Status.PodIP, nil
	case "status.podIPs":
		var ips []string
		for _, ip := range pod.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		return strings.Join(ips, ","), nil
	}
	return "", fmt.Errorf("fieldref: %q is not a field that pods can refer to", path)
}

// subscript splits metadata.labels['key'] into its parts.
func subscript(path string) (head, key string, ok bool) {
	head, rest, ok := strings.Cut(path, "['")
	if !ok {
		return "", "", false
	}
	key, ok = strings.CutSuffix(rest, "']")
	return head, key, ok && key != ""
}

// pairs writes one key="value" line for each entry, sorted by key.
func pairs(m map[string]string) string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	lines := make([]string, 0, len(m))
	for _, k := range keys {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// Resource reads a request or limit of a container in units of divisor,
// rounded up; a zero divisor is 1. A limit of cpu, memory or ephemeral storage
// that is not set is what the node can allocate; a request that is not set is
// zero.
func Resource(c *corev1.Container, name string, divisor resource.Quantity, allocatable corev1.ResourceList) (string, error) {
	kind, rest, ok := strings.Cut(name, ".")
	res := corev1.ResourceName(rest)
	known := res == corev1.ResourceCPU || res == corev1.ResourceMemory || res == corev1.ResourceEphemeralStorage
	if !ok || kind != "limits" && kind != "requests" || !known && !strings.HasPrefix(rest, corev1.ResourceHugePagesPrefix) {
		return "", fmt.Errorf("fieldref: %q is not a resource that containers can refer to", name)
	}
	var q resource.Quantity
	switch kind {
	case "limits":
		q, ok = c.Resources.Limits[res]
		if (!ok || q.IsZero()) && known {
			q = allocatable[res]
		}
	default:
		q = c.Resources.Requests[res]
	}
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if res == corev1.ResourceCPU {
		return strconv.FormatInt(ceilDiv(q.MilliValue(), divisor.MilliValue()), 10), nil
	}
	return strconv.FormatInt(ceilDiv(q.Value(), divisor.Value()), 10), nil
}

// ceilDiv divides and rounds up.
func ceilDiv(a, b int64) int64 {
	if b <= 0 {
		return a
	}
	return int64(math.Ceil(float64(a) / float64(b)))
}
