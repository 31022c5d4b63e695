package twin_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// A device gets a desired value, and reports that it has it.
func Example() {
	engine, err := twin.New(twin.Config{Store: memstore.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx) }()
	defer func() { cancel(); <-ended }()

	engine.Subscribe(func(c twin.Commit) {
		for _, effect := range c.Effects {
			if delta, ok := effect.(twin.Delta); ok {
				fmt.Println("to do:", delta.Values)
			}
		}
	})
	if err := engine.Put(ctx, "plant/boiler", twin.Put{
		Properties: []twin.Declaration{{Name: "target", Type: "int", Desired: twin.Text("45")}},
	}); err != nil {
		fmt.Println(err)
	}
	touched, err := engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{"target": {Actual: twin.Text("45")}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("actual:", touched["target"].Actual.Value)
	_, err = engine.Update(ctx, "plant/boiler", map[string]*twin.Patch{"target": {Actual: twin.Text("warm")}})
	fmt.Println(err)
	// Output:
	// to do: map[target:45]
	// actual: 45
	// twin: twin target: actual value "warm" is not of type int
}
