package devicesync_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// printer is a Reporter that only prints; edgecore passes meta/manager's.
type printer struct{}

func (printer) Update(_ context.Context, o meta.Object) error {
	fmt.Println(o.Key, string(o.Body))
	return nil
}

func Example() {
	store := memstore.New()
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	syncer, err := devicesync.New(devicesync.Config{Engine: engine, Store: store, Reporter: printer{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// Run both, in any order, until the program ends.
	_, _ = engine.Run, syncer.Run
	_, err = devicesync.New(devicesync.Config{})
	fmt.Println(err)
	// Output: twin/devicesync: Config.Engine, Config.Store and Config.Reporter are required
}
