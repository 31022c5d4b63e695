package hub_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// A cloud and an edge in one program: state comes down, a call goes up.
func Example() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	network := memconn.New(memconn.Config{})

	// The cloud: what each node must hold, and answers to its questions.
	directory := &hubtest.Directory{}
	directory.Down("edge-1").Put(hub.Key{Resource: "recipes", Name: "bread"}, 1, "flour, water, salt")
	var mux hub.Mux
	mux.Handle("greetings", hub.HandlerFunc(func(_ context.Context, r hub.Request) (hub.Message, error) {
		return hub.Message{Body: []byte("hello " + r.Node)}, nil
	}))
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Directory: directory, Mux: &mux})
	if err != nil {
		fmt.Println(err)
		return
	}

	// The edge: where to keep what comes.
	kept := &hubtest.Sink{}
	client, err := hub.NewClient(hub.ClientConfig{Dialer: network.Dialer("edge-1"), Node: "edge-1", Down: kept})
	if err != nil {
		fmt.Println(err)
		return
	}

	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Run(ctx) })
	wg.Go(func() { _ = client.Run(ctx) })
	<-client.Ready()
	answer, err := client.Call(ctx, hub.Message{Key: hub.Key{Resource: "greetings"}})
	fmt.Printf("%s %v\n", answer.Body, err)
	_ = kept.Wait(ctx, func() bool { return kept.Len() == 1 })
	fmt.Printf("%s\n", kept.Log()[0].Body)
	cancel()
	wg.Wait()
	// Output:
	// hello edge-1 <nil>
	// flour, water, salt
}

func ExampleError() {
	err := fmt.Errorf("outer: %w", &hub.Error{Code: hub.CodeNotFound, Text: "no pod of that name"})
	fmt.Println(errors.Is(err, &hub.Error{Code: hub.CodeNotFound}))
	fmt.Println(err)
	// Output:
	// true
	// outer: hub: peer: no pod of that name
}
