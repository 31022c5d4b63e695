package dmi_test

import (
	"fmt"

	"github.com/edgekit/edgekit/device/dmi"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// A gateway takes mappers of KubeEdge beside a twin engine. It runs both until it ends.
func ExampleNew() {
	store := memstore.New() // a node opens meta/badgerstore
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	manager, err := dmi.New(dmi.Config{Engine: engine, Store: store, Socket: "/run/gateway/dmi.sock"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(manager.Stats().Mappers)
	// Output: 0
}
