package jointest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// A cloud that may forget its tokens and names at a restart keeps them in a Store.
func ExampleStore() {
	ctx := context.Background()
	store := new(jointest.Store)
	token := join.NewToken("pin of the authority")
	store.Add(token.Record("edge-*", time.Now().Add(time.Hour)))
	fmt.Println(store.Use(ctx, token.ID, "edge-1", "hash of a key"))
	fmt.Println(store.Use(ctx, token.ID, "edge-2", "hash of another key"))
	// Output:
	// <nil>
	// join: the token was already used by another machine: create a new one
}
