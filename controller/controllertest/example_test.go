package controllertest_test

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
)

// A test has an API server in memory that holds a Node from the start.
func ExampleNewClientset() {
	client := controllertest.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-7"}})
	nodes, err := client.CoreV1().Nodes().List(context.Background(), metav1.ListOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(nodes.Items[0].Name)
	// Output: edge-7
}
