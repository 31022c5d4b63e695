package v1alpha1_test

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

func ExampleAddToScheme() {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		fmt.Println(err)
		return
	}
	group, err := scheme.New(v1alpha1.GroupVersion().WithKind(v1alpha1.KindNodeGroup))
	fmt.Printf("%T %v\n", group, err)
	// Output: *v1alpha1.NodeGroup <nil>
}
