package memstore_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func Example() {
	ctx := context.Background()
	store := memstore.New()
	defer store.Close()

	revision, err := store.Apply(ctx, meta.Op{Key: "local/example/a", Value: []byte("1")}, meta.Op{Key: "local/example/b", Value: []byte("2")})
	fmt.Println(revision, err)
	r, err := store.Get(ctx, "local/example/b")
	fmt.Println(string(r.Value), r.Revision, err)
	// Output:
	// 1 <nil>
	// 2 1 <nil>
}
