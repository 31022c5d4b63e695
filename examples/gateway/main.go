// Command gateway is a device gateway without Kubernetes: twins on disk, an MQTT broker, a driver, and HTTP for the twins.
//
//	go run ./examples/gateway
//	curl 127.0.0.1:8080/twin/v1/devices
//	curl -X PUT -d '{"target":"60"}' 127.0.0.1:8080/twin/v1/devices/plant/boiler/desired
//	curl -N 127.0.0.1:8080/twin/v1/watch
//	mosquitto_pub -p 1884 -t '$hw/events/device/plant/boiler/twin/update' -m '{"twin":{"target":{"expected":{"value":"60"}}}}'
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/inprocess"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicespec"
	"github.com/edgekit/edgekit/twin/httpapi"
	"github.com/edgekit/edgekit/twin/mqtt"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	web, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = run(ctx, ".gateway", broker.DefaultAddress, web)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// run runs the gateway until ctx ends.
func run(ctx context.Context, dir, address string, web net.Listener) error {
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		return err
	}
	defer store.Close()
	engine, err1 := twin.New(twin.Config{Store: store})
	embedded, err2 := broker.New(broker.Config{Address: address})
	messages, err3 := bus.New(bus.Config{Internal: embedded})
	bridge, err4 := mqtt.New(mqtt.Config{Engine: engine, Bus: messages, Node: "gateway"})
	link, err5 := inprocess.New(inprocess.Config{Engine: engine})
	put, err6 := devicespec.Declare(spec, model)
	api, err7 := httpapi.New(httpapi.Config{Engine: engine, Authorize: httpapi.Anyone}) // on loopback
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: time.Minute}
	group, ctx := errgroup.WithContext(ctx) // the parts start in any order and end with ctx
	group.Go(func() error { return engine.Run(ctx) })
	group.Go(func() error { return messages.Run(ctx) })
	group.Go(func() error { return bridge.Run(ctx) })
	group.Go(func() error { return device.Run(ctx, device.Config{Protocol: "boiler", New: newBoiler, Link: link}) })
	group.Go(func() error { return engine.Put(ctx, "plant/boiler", put) })
	group.Go(func() error { <-ctx.Done(); return server.Close() })
	group.Go(func() error { return server.Serve(web) })
	if err := group.Wait(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// The device, as Device and DeviceModel describe it in a cluster.
var (
	spec = schema.DeviceSpec{Protocol: schema.Protocol{Name: "boiler"}, Properties: []schema.Property{
		{Name: "target", Desired: &schema.Value{Value: "45"}}, {Name: "pressure", CollectCycle: 1000}}}
	model = schema.DeviceModelSpec{Properties: []schema.ModelProperty{
		{Name: "target", Type: schema.TypeInt, AccessMode: schema.ReadWrite}, {Name: "pressure", Type: schema.TypeFloat}}}
)

// boiler is the driver. This one keeps the values in memory instead of a device.
type boiler map[string]string

func newBoiler() device.Driver { return boiler{"target": "20", "pressure": "1.5"} }

func (b boiler) Open(context.Context, device.Instance) error       { return nil }
func (b boiler) Close() error                                      { return nil }
func (b boiler) Write(_ context.Context, name, value string) error { b[name] = value; return nil }
func (b boiler) Read(_ context.Context, name string) (string, error) {
	if value, ok := b[name]; ok {
		return value, nil
	}
	return "", errors.New("boiler has no property " + name)
}
