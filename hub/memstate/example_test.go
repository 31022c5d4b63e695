package memstate_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/hub/memstate"
)

// A cloud sends settings to a node, and changes one while the node is connected.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	network := memconn.New(memconn.Config{}) // quicconn or wsconn in a real program

	settings, err := memstate.NewSource(memstate.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	interval := hub.Key{Resource: "settings", Name: "interval"}
	if err := settings.Put(interval, []byte("10s")); err != nil {
		fmt.Println(err)
		return
	}
	server, err := hub.NewServer(hub.ServerConfig{
		Listener: network,
		Directory: hub.DirectoryFunc(func(context.Context, hub.Hello) (hub.Node, error) {
			return hub.Node{Down: settings}, nil
		}),
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	arrived := make(chan hub.Object)
	sink, err := memstate.NewSink(memstate.Limits{}, func(objects []hub.Object) {
		for _, o := range objects {
			arrived <- o
		}
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("edge-1"), Node: "edge-1", Down: sink})
	if err != nil {
		fmt.Println(err)
		return
	}

	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	o := <-arrived
	fmt.Printf("%s %s\n", o.Key.Name, o.Body)
	if err := settings.Put(interval, []byte("1m")); err != nil {
		fmt.Println(err)
	}
	o = <-arrived
	fmt.Printf("%s %s\n", o.Key.Name, o.Body)
	cancel()
	wg.Wait()
	// Output:
	// interval 10s
	// interval 1m
}
