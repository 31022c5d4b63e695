package podspec

import (
	"context"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// someServices is Objects that have Services only.
type someServices struct {
	Objects
	all []*corev1.Service
}

func (o someServices) Services(_ context.Context, namespace string) (out []*corev1.Service, _ error) {
	for _, s := range o.all {
		if s.Namespace == namespace {
			out = append(out, s)
		}
	}
	return out, nil
}

func TestServiceVariables(t *testing.T) {
	service := func(namespace, name, ip string, ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
	}
	objects := someServices{all: []*corev1.Service{
		service("default", "kubernetes", "10.0.0.1", corev1.ServicePort{Name: "https", Port: 443}),
		service("default", "elsewhere", "10.0.0.9", corev1.ServicePort{Port: 1}),
		service("a", "dns-cache", "fd00::5", corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}),
		service("a", "headless", corev1.ClusterIPNone, corev1.ServicePort{Port: 1}),
		service("a", "name", ""),
	}}
	no := false
	api := "KUBERNETES_SERVICE_HOST=10.0.0.1 KUBERNETES_SERVICE_PORT=443 KUBERNETES_PORT=tcp://10.0.0.1:443 KUBERNETES_SERVICE_PORT_HTTPS=443 " +
		"KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443 KUBERNETES_PORT_443_TCP_PROTO=tcp KUBERNETES_PORT_443_TCP_PORT=443 KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1 "
	dns := "DNS_CACHE_SERVICE_HOST=fd00::5 DNS_CACHE_SERVICE_PORT=53 DNS_CACHE_PORT=udp://[fd00::5]:53 DNS_CACHE_SERVICE_PORT_DNS=53 " +
		"DNS_CACHE_PORT_53_UDP=udp://[fd00::5]:53 DNS_CACHE_PORT_53_UDP_PROTO=udp DNS_CACHE_PORT_53_UDP_PORT=53 DNS_CACHE_PORT_53_UDP_ADDR=fd00::5 "
	for _, tt := range []struct {
		links *bool
		want  string
	}{{nil, api + dns}, {&no, api}} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a"}, Spec: corev1.PodSpec{EnableServiceLinks: tt.links}}
		got, err := serviceVariables(t.Context(), objects, pod)
		text := ""
		for _, v := range got {
			text += fmt.Sprintf("%s=%s ", v.Name, v.Value)
		}
		if err != nil || text != tt.want {
			t.Errorf("%s, %v\nwant %s", text, err, tt.want)
		}
	}
	// A container's own variable replaces one of these, and may refer to them.
	env, err := environmentOf(t.Context(), objects, nil, &corev1.Pod{}, &corev1.Container{Env: []corev1.EnvVar{{Name: "URL", Value: "$(DB_PORT)/x"}, {Name: "DB_PORT", Value: "mine"}}},
		nil, runtime.EnvVar{Name: "DB_PORT", Value: "tcp://10.0.0.2:1"})
	if err != nil || !slices.Equal(env.list, []runtime.EnvVar{{Name: "DB_PORT", Value: "mine"}, {Name: "URL", Value: "tcp://10.0.0.2:1/x"}}) {
		t.Errorf("%v, %v", env, err)
	}
}
