package inprocess_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// A mapper reports to the twin engine of its own program.
func Example() {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	link, err := inprocess.New(inprocess.Config{Engine: engine})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	<-engine.Ready()

	const id = "plant/boiler"
	put, err := devicespec.Declare(schema.DeviceSpec{
		Protocol:   schema.Protocol{Name: "modbus"},
		Properties: []schema.Property{{Name: "temperature"}},
	}, schema.DeviceModelSpec{
		Properties: []schema.ModelProperty{{Name: "temperature", Type: schema.TypeFloat, AccessMode: schema.ReadOnly}},
	})
	if err := errors.Join(err, engine.Put(ctx, id, put), link.Report(ctx, id, map[string]string{"temperature": "21.5"})); err != nil {
		fmt.Println(err)
	}
	d, _ := engine.Device(id)
	fmt.Println(d.Twins["temperature"].Actual.Value)
	cancel()
	<-ended
	// Output: 21.5
}
