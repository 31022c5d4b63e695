package history_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin/history"
)

func Example() {
	ctx := context.Background()
	log, err := history.New(history.Config{Store: memstore.New()})
	if err != nil {
		panic(err)
	}
	limit := history.Limit{Values: 2}
	for ms, value := range []string{"20", "21", "22"} {
		log.Append("plant/boiler", "temperature", limit, history.Entry{Time: int64(ms), Value: value})
	}
	if err := log.Flush(ctx); err != nil {
		panic(err)
	}
	page, err := log.Query(ctx, history.Query{Device: "plant/boiler", Property: "temperature"})
	for _, e := range page.Entries {
		fmt.Println(e.Seq, e.Value)
	}
	fmt.Println(err)
	// Output:
	// 2 21
	// 3 22
	// <nil>
}
