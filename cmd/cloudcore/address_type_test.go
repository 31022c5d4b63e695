package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
)

// TestDetectAddressType: the API servers' own settings decide; where they are not to be
// seen, or differ, InternalIP does, with one line that names the remedy.
func TestDetectAddressType(t *testing.T) {
	server := func(name string, args ...string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: name, Labels: map[string]string{"component": "kube-apiserver"}}}
		p.Spec.Containers = []corev1.Container{{Name: "kube-apiserver", Command: append([]string{"kube-apiserver"}, args...)}}
		return p
	}
	const kubeadm = "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname"
	for name, tt := range map[string]struct {
		servers   []*corev1.Pod
		hostnames bool
		want      corev1.NodeAddressType
	}{
		"none to be seen":         {nil, false, corev1.NodeInternalIP},
		"built-in order":          {[]*corev1.Pod{server("a", "--secure-port=6443")}, false, corev1.NodeInternalDNS},
		"built-in and host names": {[]*corev1.Pod{server("a")}, true, corev1.NodeInternalIP},
		"kubeadm":                 {[]*corev1.Pod{server("a", kubeadm)}, false, corev1.NodeInternalIP},
		"kubeadm, changed":        {[]*corev1.Pod{server("a", "--kubelet-preferred-address-types", "InternalDNS,InternalIP,ExternalIP,Hostname")}, true, corev1.NodeInternalDNS},
		"ExternalIP first":        {[]*corev1.Pod{server("a", "--kubelet-preferred-address-types=ExternalIP,InternalIP")}, false, corev1.NodeExternalIP},
		"they differ":             {[]*corev1.Pod{server("a"), server("b", kubeadm)}, false, corev1.NodeInternalIP},
		"they agree":              {[]*corev1.Pod{server("a"), server("b")}, false, corev1.NodeInternalDNS},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []runtime.Object
			for _, s := range tt.servers {
				objects = append(objects, s)
			}
			var log bytes.Buffer
			got := detectAddressType(t.Context(), fake.NewClientset(objects...), tt.hostnames, slog.New(slog.NewTextHandler(&log, nil)))
			if got != tt.want || strings.Contains(log.String(), "InternalDNS,InternalIP") != (tt.want == corev1.NodeInternalIP) {
				t.Errorf("%s; %s", got, log.String())
			}
		})
	}
}
