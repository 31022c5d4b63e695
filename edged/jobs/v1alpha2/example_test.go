package v1alpha2_test

import (
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

func ExampleAddToScheme() {
	scheme := runtime.NewScheme()
	if err := v1alpha2.AddToScheme(scheme); err != nil {
		fmt.Println(err)
		return
	}
	job, err := scheme.New(v1alpha2.GroupVersion().WithKind(v1alpha2.KindNodeUpgradeJob))
	fmt.Printf("%T %v\n", job, err)
	// Output: *v1alpha2.NodeUpgradeJob <nil>
}
