package meta_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// A module lists what is there and follows from that revision, so that it
// misses nothing and sees nothing twice.
func ExampleStore() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var store meta.Store = memstore.New()
	defer store.Close()

	lamp := meta.Object{Key: meta.Key{Resource: "devices", Namespace: "hall", Name: "lamp"}, Version: "7", Body: []byte(`{"on":true}`)}
	_, err := store.Apply(ctx, meta.Op{Key: meta.Down + lamp.Key.Path(), Value: meta.EncodeObject(lamp)})
	if err != nil {
		fmt.Println(err)
		return
	}

	records, revision, _ := store.List(ctx, meta.Down+"devices/")
	for _, r := range records {
		o, err := meta.DecodeObject(meta.Down, r)
		fmt.Println("have", o.Key, o.Version, string(o.Body), err)
	}

	changes, _ := store.Watch(ctx, meta.Down+"devices/", revision)
	_, _ = store.Apply(ctx, meta.Op{Key: meta.Down + lamp.Key.Path(), Delete: true})
	for _, e := range <-changes {
		fmt.Println("saw", e.Key, "deleted:", e.Deleted)
	}
	// Output:
	// have devices/hall/lamp 7 {"on":true} <nil>
	// saw down/devices/hall/lamp deleted: true
}

// A condition makes a change only if nobody else made one before.
func ExampleOp() {
	ctx := context.Background()
	store := memstore.New()
	defer store.Close()

	absent := uint64(0)
	first := meta.Op{Key: "local/example/leader", Value: []byte("me"), If: &absent}
	_, err := store.Apply(ctx, first)
	fmt.Println(err)
	_, err = store.Apply(ctx, first)
	fmt.Println(err)
	// Output:
	// <nil>
	// meta: conflict: "local/example/leader" is at revision 1, not 0
}
