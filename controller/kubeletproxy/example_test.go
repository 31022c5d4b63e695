package kubeletproxy_test

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
)

// A node gets a port of its own, and its Node names cloudcore's address: this is
// what the API server dials for kubectl logs.
func ExampleServer_AmendNode() {
	kube := controllertest.NewClientset()
	proxy, err := kubeletproxy.New(kubeletproxy.Config{
		Cloud: kube, NodeClient: kube, Address: netip.MustParseAddr("10.0.0.5"), FirstPort: 20000, Ports: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1"}}
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.1.7"}, {Type: corev1.NodeHostName, Address: "edge-1"}}
	proxy.AmendNode(node)
	for _, a := range node.Status.Addresses {
		fmt.Println(a.Type, a.Address)
	}
	fmt.Println("port", node.Status.DaemonEndpoints.KubeletEndpoint.Port)
	// Output:
	// InternalIP 10.0.0.5
	// InternalIP 192.168.1.7
	// port 20000
}
