package rules_test

import (
	"fmt"

	"github.com/edgekit/edgekit/controller/rules"
)

// A cloud side asks which resources of a node the Source of rules answers for.
func ExampleResources() {
	for _, resource := range rules.Resources() {
		fmt.Println(resource)
	}
	// Output: rules
}
