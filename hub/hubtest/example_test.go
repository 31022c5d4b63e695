package hubtest_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// A test of a cloud's own Directory or of an edge's own Sink uses the fakes for all else.
func Example() {
	network := memconn.New(memconn.Config{})
	directory, sink := &hubtest.Directory{}, &hubtest.Sink{}
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: directory})
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("edge-1"), Node: "edge-1", Down: sink})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ends sync.WaitGroup
	ends.Go(func() { _ = server.Run(ctx) })
	ends.Go(func() { _ = client.Run(ctx) })

	recipe := hub.Key{Resource: "recipes", Name: "bread"}
	directory.Down("edge-1").Put(recipe, 1, "flour, water, salt")
	err = sink.Wait(ctx, func() bool { return sink.Held(recipe) == "1" })
	fmt.Printf("%s %v\n", sink.Log()[0].Body, err)
	cancel()
	ends.Wait()
	// Output: flour, water, salt <nil>
}
