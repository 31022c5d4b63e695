package v1alpha1_test

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
)

func ExampleAddToScheme() {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		fmt.Println(err)
		return
	}
	sync, err := scheme.New(v1alpha1.GroupVersion().WithKind(v1alpha1.KindEdgeSync))
	fmt.Printf("%T %v\n", sync, err)
	// Output: *v1alpha1.EdgeSync <nil>
}
