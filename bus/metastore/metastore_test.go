package metastore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func Example() {
	store := memstore.New()
	defer store.Close()
	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0", Storage: metastore.New(store, "mqtt/")})
	fmt.Println(b != nil, err)
	// Output: true <nil>
}

// TestStorage writes more than one batch of the store takes, beside keys of others.
func TestStorage(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	if _, err := store.Apply(t.Context(), meta.Op{Key: "other", Value: []byte("x")}, meta.Op{Key: "mqttx", Value: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	s := metastore.New(store, "mqtt/")
	changes := []broker.Record{{Key: "gone", Value: []byte{}}}
	for i := range 20 {
		changes = append(changes, broker.Record{Key: fmt.Sprintf("m/%02d", i), Value: make([]byte, 1<<20)})
	}
	if err := s.Apply(t.Context(), append(changes, broker.Record{Key: "gone"})); err != nil {
		t.Fatal(err)
	}
	n := 0
	for r, err := range s.Load(t.Context()) {
		if err != nil || r.Key != fmt.Sprintf("m/%02d", n) || len(r.Value) != 1<<20 {
			t.Fatalf("record %d is %s, %v", n, r.Key, err)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d records", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Load(ctx) {
		if err == nil {
			t.Error("a cancelled Load gives records")
		}
		break
	}
}

// TestReceived: identifiers are there after a restart, beside keys of others, until they are removed.
func TestReceived(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	if _, err := store.Apply(t.Context(), meta.Op{Key: "in/b/0001", Value: []byte("other")}, meta.Op{Key: "in/a/x", Value: []byte("no identifier")}); err != nil {
		t.Fatal(err)
	}
	r := metastore.NewReceived(store, "in/a/")
	for _, id := range []uint16{1, 255, 65535} {
		if err := r.Put(t.Context(), id, fmt.Append(nil, id)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Remove(t.Context(), 255, 4); err != nil {
		t.Fatal(err)
	}
	got, err := metastore.NewReceived(store, "in/a/").Load(t.Context())
	if err != nil || len(got) != 2 || string(got[1]) != "1" || string(got[65535]) != "65535" {
		t.Errorf("%x, %v", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Load(ctx); err == nil {
		t.Error("a cancelled Load gives something")
	}
}
