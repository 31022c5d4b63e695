package main

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// preferredFlag is the API server's setting of which address of a node it dials.
const preferredFlag = "--kubelet-preferred-address-types"

// lookTimeout bounds the look at the API servers' pods.
const lookTimeout = 15 * time.Second

// defaultPreferred is the order of an API server without that setting:
// https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
func defaultPreferred() []string {
	return []string{"Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP"}
}

// detectAddressType finds the type of address with which every API server dials cloudcore
// and which costs the nodes least. It reads the settings of API servers that run as pods,
// as kubeadm makes them; of others it knows nothing, and InternalIP works with all.
// hostnames says that Nodes show their host names.
func detectAddressType(ctx context.Context, client kubernetes.Interface, hostnames bool, log *slog.Logger) corev1.NodeAddressType {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	pods, err := client.CoreV1().Pods(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{LabelSelector: "component=kube-apiserver"})
	chosen, servers := corev1.NodeInternalIP, 0
	if err != nil {
		log.Warn("the API servers' settings cannot be read", "err", err)
	} else {
		chosen, servers = commonType(pods.Items, hostnames), len(pods.Items)
	}
	if chosen == corev1.NodeInternalIP {
		log.Info("edge nodes have this cloudcore's address as their first InternalIP, since API servers may dial that first; programs that read a node's own address there need another --kubelet-address-type",
			"for that give the API servers", preferredFlag+"=InternalDNS,InternalIP,ExternalIP,Hostname", "API server pods", servers)
	}
	return chosen
}

// commonType is the type on which all API servers agree; InternalIP where they do not.
func commonType(servers []corev1.Pod, hostnames bool) corev1.NodeAddressType {
	var chosen corev1.NodeAddressType
	for i := range servers {
		kind := typeFor(preferredTypes(&servers[i]), hostnames)
		if i > 0 && kind != chosen {
			return corev1.NodeInternalIP
		}
		chosen = kind
	}
	return cmp.Or(chosen, corev1.NodeInternalIP)
}

// preferredTypes reads an API server's order from its command line.
func preferredTypes(pod *corev1.Pod) []string {
	for i := range pod.Spec.Containers {
		words := slices.Concat(pod.Spec.Containers[i].Command, pod.Spec.Containers[i].Args)
		for j, word := range words {
			if value, ok := strings.CutPrefix(word, preferredFlag+"="); ok {
				return strings.Split(value, ",")
			}
			if word == preferredFlag && j+1 < len(words) {
				return strings.Split(words[j+1], ",")
			}
		}
	}
	return defaultPreferred()
}

// typeFor picks the type that an API server dials before all that an edge node has itself:
// InternalIP, and with hostnames its Hostname.
func typeFor(order []string, hostnames bool) corev1.NodeAddressType {
	for _, kind := range order {
		switch k := corev1.NodeAddressType(strings.TrimSpace(kind)); {
		case k == corev1.NodeInternalDNS || k == corev1.NodeExternalDNS || k == corev1.NodeExternalIP:
			return k
		case k == corev1.NodeHostName && !hostnames:
			continue // edge nodes have none then
		default:
			return corev1.NodeInternalIP
		}
	}
	return corev1.NodeInternalIP
}
