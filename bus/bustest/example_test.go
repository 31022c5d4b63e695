package bustest_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
)

// A bus on a transport in memory needs no broker.
func Example() {
	b, err := bus.New(bus.Config{Internal: bustest.New()})
	if err != nil {
		fmt.Println(err)
		return
	}
	got := make(chan string, 1)
	stop, err := b.Subscribe("plant/+/level", func(_ context.Context, m bus.Message) { got <- m.Topic + " " + string(m.Payload) })
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	err = b.Publish(ctx, bus.Message{Topic: "plant/tank/level", Payload: []byte("17")})
	fmt.Println(<-got)
	stop()
	cancel()
	if err := errors.Join(err, <-ended); err != nil {
		fmt.Println(err)
	}
	// Output: plant/tank/level 17
}
