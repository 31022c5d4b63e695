package resources_test

import (
	"fmt"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// A key names an object on both ends of a link.
func Example() {
	fmt.Println(hub.Key{Resource: resources.ConfigMaps, Namespace: "plant", Name: "settings"})
	// Output: configmaps/plant/settings
}
