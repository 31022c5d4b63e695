package podspec

import (
	"context"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// The Service of the API server, whose variables every pod gets.
const (
	apiNamespace = "default"
	apiService   = "kubernetes"
)

// serviceVariables are the variables by which a pod finds the Services of its
// namespace, unless it wants none (enableServiceLinks), and in any case the API
// server:
// https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
func serviceVariables(ctx context.Context, o Objects, pod *corev1.Pod) ([]runtime.EnvVar, error) {
	services, err := o.Services(ctx, apiNamespace)
	if err != nil {
		return nil, err
	}
	var out []runtime.EnvVar
	for _, s := range services {
		if s.Name == apiService {
			out = append(out, variablesOf(s)...)
		}
	}
	if links := pod.Spec.EnableServiceLinks; links != nil && !*links {
		return out, nil
	}
	if pod.Namespace != apiNamespace {
		if services, err = o.Services(ctx, pod.Namespace); err != nil {
			return nil, err
		}
	}
	for _, s := range services {
		out = append(out, variablesOf(s)...) // a namespace's own comes later, and replaces
	}
	return out, nil
}

// variablesOf are the variables of one Service. A headless Service, and one that
// is only a name, has none.
func variablesOf(s *corev1.Service) []runtime.EnvVar {
	ip := s.Spec.ClusterIP
	if ip == "" || ip == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return nil
	}
	name := variableName(s.Name)
	first := s.Spec.Ports[0]
	out := []runtime.EnvVar{
		{Name: name + "_SERVICE_HOST", Value: ip},
		{Name: name + "_SERVICE_PORT", Value: portText(first)},
		{Name: name + "_PORT", Value: portURL(ip, first)},
	}
	for _, p := range s.Spec.Ports {
		if p.Name != "" {
			out = append(out, runtime.EnvVar{Name: name + "_SERVICE_PORT_" + variableName(p.Name), Value: portText(p)})
		}
		one := name + "_PORT_" + portText(p) + "_" + protocolOf(p)
		out = append(out,
			runtime.EnvVar{Name: one, Value: portURL(ip, p)},
			runtime.EnvVar{Name: one + "_PROTO", Value: strings.ToLower(protocolOf(p))},
			runtime.EnvVar{Name: one + "_PORT", Value: portText(p)},
			runtime.EnvVar{Name: one + "_ADDR", Value: ip},
		)
	}
	return out
}

// variableName is a Service's name as a part of a variable's name.
func variableName(s string) string { return strings.ToUpper(strings.ReplaceAll(s, "-", "_")) }

// portText is a port in decimal.
func portText(p corev1.ServicePort) string { return strconv.Itoa(int(p.Port)) }

// protocolOf is the protocol of a port; TCP where none is set.
func protocolOf(p corev1.ServicePort) string {
	if p.Protocol == "" {
		return string(corev1.ProtocolTCP)
	}
	return string(p.Protocol)
}

// portURL is a port in the form of Docker's old links, tcp://10.0.0.1:80.
func portURL(ip string, p corev1.ServicePort) string {
	return strings.ToLower(protocolOf(p)) + "://" + net.JoinHostPort(ip, portText(p))
}
