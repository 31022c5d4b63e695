package rules

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/kubeletproxy"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// TestPeerOf: the cloudcore that has a node is read from what cloudcores write into its Node.
func TestPeerOf(t *testing.T) {
	node := func(connected corev1.ConditionStatus, address string, port int32) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: connected}},
			// What a node may write itself does not count.
			Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.9.9.9"}},
		}}
		if port != 0 {
			n.Labels = map[string]string{kubeletproxy.RecordLabel: fmt.Sprintf("%s_%d", address, port)}
		}
		return n
	}
	p := &PeerConfig{Address: "10.0.0.1", Port: 9443}
	for want, n := range map[string]*corev1.Node{
		"10.0.0.2:9443": node(corev1.ConditionTrue, "10.0.0.2", 20001),
	} {
		if got := p.find(n); got != want {
			t.Errorf("found %q, want %q", got, want)
		}
	}
	for name, n := range map[string]*corev1.Node{
		"away": node(corev1.ConditionFalse, "10.0.0.2", 20001), "ours": node(corev1.ConditionTrue, "10.0.0.1", 20001), "no endpoint": node(corev1.ConditionTrue, "10.0.0.2", 0), "new": {},
	} {
		if got := p.find(n); got != "" {
			t.Errorf("%s: found %q", name, got)
		}
	}
}
