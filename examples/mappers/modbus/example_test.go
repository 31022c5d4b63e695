package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/modbus/internal/simulator"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
)

// A gateway drives a Modbus device in its own process: no broker, no Kubernetes.
func Example() {
	slaves := simulator.New(10) // a device at this machine
	address, stop, err := slaves.Listen()
	if err != nil {
		fmt.Println(err)
		return
	}
	ip, port, _ := strings.Cut(address, ":")

	store := memstore.New() // badgerstore keeps the twins on disk
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	link, err := inprocess.New(inprocess.Config{Engine: engine})
	if err != nil {
		fmt.Println(err)
		return
	}
	cfg := config()
	cfg.Link = link
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return device.Run(ctx, cfg) })
	group.Go(func() error {
		defer cancel()
		return setTarget(ctx, engine, ip, port)
	})
	err = group.Wait()
	fmt.Println("register 0 is", slaves.Holding(1, 0), err)
	_ = stop()
	store.Close()
	// Output: register 0 is 45 <nil>
}

// setTarget declares a device, and waits until it has the value that is wanted.
func setTarget(ctx context.Context, engine *twin.Engine, ip, port string) error {
	put, err := devicespec.Declare(schema.DeviceSpec{
		Protocol: schema.Protocol{Name: "modbus", Config: schema.Options(`{"ip":"` + ip + `","port":` + port + `,"slaveID":1}`)},
		Properties: []schema.Property{{
			Name: "target", Desired: &schema.Value{Value: "45"},
			Visitors: &schema.Visitor{Config: schema.Options(`{"register":"HoldingRegister","offset":0,"limit":1}`)},
		}},
	}, schema.DeviceModelSpec{
		Properties: []schema.ModelProperty{{Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite, Minimum: "0", Maximum: "80"}},
	})
	if err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	unsubscribe := engine.Subscribe(func(twin.Commit) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer unsubscribe()
	<-engine.Ready()
	if err := engine.Put(ctx, "plant/boiler", put); err != nil {
		return err
	}
	for {
		if d, _ := engine.Device("plant/boiler"); d.Twins["target"].Actual != nil && d.Twins["target"].Actual.Value == "45" {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
