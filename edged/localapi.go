package edged

import (
	"context"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// LocalAPI is a Kubernetes API on the node itself. Pods find it by the variables
// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT; a pod that sets these
// itself keeps its own. An API on a loopback address is given to pods in the
// host's network only: no other could reach it.
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

// environment is the variables by which the pod finds the API.
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

// withLocalCA gives Objects whose kube-root-ca.crt also has the certificate of the
// API.
func (l LocalAPI) withLocalCA(o Objects) Objects {
	if !l.Address.IsValid() || len(l.CA) == 0 {
		return o
	}
	return localCAObjects{o, l.CA}
}

// localCAObjects adds a certificate to each kube-root-ca.crt.
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
