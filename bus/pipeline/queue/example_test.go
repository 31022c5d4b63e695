package queue_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/queue"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta/memstore"
)

// What an operator may ask of the queues of a program.
func Example() {
	ctx := context.Background()
	store := memstore.New()
	queues, err := queue.New(queue.Config{Store: store})
	if err != nil {
		fmt.Println(err)
		return
	}
	ref := pipeline.Ref{Namespace: "plant", Name: "exceptions"}
	q, err := queues.Open(ctx, ref, &v1alpha1.Sink{Name: "up"}) // as the engine does
	if err != nil {
		fmt.Println(err)
		return
	}
	defer q.Close()
	staged, err := q.Stage(ctx, []pipeline.Event{{ID: "1", Data: "hot"}, {ID: "2", Data: "cold"}})
	if err == nil {
		_, err = store.Apply(ctx, staged.Ops...)
		staged.Done(err == nil)
	}
	fmt.Println(q.Stats().Events, err)
	err = queues.Export(ctx, ref, "up", func(e pipeline.Event) error {
		fmt.Println(e.ID, e.Data)
		return nil
	})
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// 1 hot
	// 2 cold
	// <nil>
}
