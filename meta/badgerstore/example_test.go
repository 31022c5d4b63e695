package badgerstore_test

import (
	"context"
	"fmt"
	"os"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "edgekit-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	cfg := badgerstore.Config{
		Dir:     dir,
		Damaged: func(e *meta.CorruptError) { fmt.Println("starting empty; the old files are in", e.Aside) },
	}
	for range 2 { // the second time it is all still there
		store, err := badgerstore.Open(cfg)
		if err != nil {
			fmt.Println(err)
			return
		}
		records, _, err := store.List(ctx, "local/")
		fmt.Println(len(records), "records,", err)
		_, err = store.Apply(ctx, meta.Op{Key: "local/example/a", Value: []byte("1")})
		if err != nil {
			fmt.Println(err)
		}
		store.Close()
	}
	// Output:
	// 0 records, <nil>
	// 1 records, <nil>
}
