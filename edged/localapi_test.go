package edged

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// oneConfigMap is Objects that have one config map only.
type oneConfigMap struct {
	Objects
	cm *corev1.ConfigMap
}

func (o oneConfigMap) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return o.cm, nil
}

func TestLocalAPI(t *testing.T) {
	pod, host := &corev1.Pod{}, &corev1.Pod{Spec: corev1.PodSpec{HostNetwork: true}}
	for _, tt := range []struct {
		addr string
		pod  *corev1.Pod
		want string
	}{
		{"", host, "[]"},
		{"127.0.0.1:6443", pod, "[]"},
		{"127.0.0.1:6443", host, "[{KUBERNETES_SERVICE_HOST 127.0.0.1} {KUBERNETES_SERVICE_PORT 6443} {KUBERNETES_SERVICE_PORT_HTTPS 6443}]"},
		{"169.254.30.10:443", pod, "[{KUBERNETES_SERVICE_HOST 169.254.30.10} {KUBERNETES_SERVICE_PORT 443} {KUBERNETES_SERVICE_PORT_HTTPS 443}]"},
	} {
		var l LocalAPI
		if tt.addr != "" {
			l.Address = netip.MustParseAddrPort(tt.addr)
		}
		if got := fmt.Sprint(l.environment(tt.pod)); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.addr, got, tt.want)
		}
	}
	cm := &corev1.ConfigMap{Data: map[string]string{"ca.crt": "cluster's"}}
	l := LocalAPI{Address: netip.MustParseAddrPort("127.0.0.1:6443"), CA: []byte("node's\n")}
	got, err := l.withLocalCA(oneConfigMap{cm: cm}).ConfigMap(t.Context(), "a", "kube-root-ca.crt")
	if err != nil || got.Data["ca.crt"] != "cluster's\nnode's\n" || cm.Data["ca.crt"] != "cluster's" {
		t.Errorf("%v, %v; the original is %v", got, err, cm)
	}
	if got, _ = l.withLocalCA(oneConfigMap{cm: cm}).ConfigMap(t.Context(), "a", "other"); got.Data["ca.crt"] != "cluster's" {
		t.Errorf("another config map: %v", got)
	}
	if got, _ = (LocalAPI{}).withLocalCA(oneConfigMap{cm: cm}).ConfigMap(t.Context(), "a", "kube-root-ca.crt"); got.Data["ca.crt"] != "cluster's" {
		t.Errorf("without an API: %v", got)
	}
}
