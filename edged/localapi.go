package edged

import (
	"context"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// LocalAPI is a Kubernetes API on the node itself. Pods are led to it by the
// variables KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT; those that
// set these themselves keep their own. One on a loopback address is told to
// pods in the host's network only, since no other could reach it.
type LocalAPI struct {
	Address netip.AddrPort // the zero value is no API
	// CA is the certificate, in PEM, that vouches for it. It is added to
	// ca.crt of each kube-root-ca.crt that a pod mounts, beside the cluster's
	// own.
	CA []byte
}

// rootConfigMap is the config map that Kubernetes puts into each namespace, and
// its key: what clients in pods trust.
const (
	rootConfigMap = "kube-root-ca.crt"
	rootKey       = "ca.crt"
)

// environment gives the variables that lead the pod to the API.
func (l LocalAPI) environment(pod *corev1.Pod) []runtime.EnvVar {
	addr := l.Address
	if !addr.IsValid() || addr.Addr().IsLoopback() && !pod.Spec.HostNetwork {
		return nil
	}
	port := strconv.Itoa(int(addr.Port()))
	return []runtime.EnvVar{
		{Name: "KUBERNETES_SERVICE_HOST", Value: addr.Addr().String()},
		{Name: "KUBERNETES_SERVICE_PORT", Value: port},
		{Name: "KUBERNETES_SERVICE_PORT_HTTPS", Value: port},
	}
}

// withLocalCA gives Objects whose kube-root-ca.crt also vouches for the API.
func (l LocalAPI) withLocalCA(o Objects) Objects {
	if !l.Address.IsValid() || len(l.CA) == 0 {
		return o
	}
	return localCAObjects{o, l.CA}
}

type localCAObjects struct {
	Objects
	ca []byte
}

// ConfigMap reads a config map; what it returns may be a changed copy.
func (r localCAObjects) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	cm, err := r.Objects.ConfigMap(ctx, namespace, name)
	if err != nil || name != rootConfigMap {
		return cm, err
	}
	cm = cm.DeepCopy()
	if text, ok := cm.Data[rootKey]; ok {
		if text != "" && text[len(text)-1] != '\n' {
			text += "\n"
		}
		cm.Data[rootKey] = text + string(r.ca)
	}
	return cm, nil
}
