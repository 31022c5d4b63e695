package manager_test

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// Without a cloud: queries are answered from what the cloud once sent, and the newest
// report of each key waits in the outbox.
func Example() {
	ctx := context.Background()
	store := memstore.New()
	defer store.Close()
	m, err := manager.New(manager.Config{Store: store, Node: "gate-7"})
	if err != nil {
		fmt.Println(err)
		return
	}

	settings := hub.Key{Resource: "configmaps", Namespace: "plant", Name: "settings"}
	err = m.Down().Apply(ctx, []hub.Object{{Key: settings, Version: "41", Body: []byte(`{"data":{}}`)}})
	if err != nil {
		fmt.Println(err)
	}
	answer, err := m.Query(ctx, meta.Object{Key: meta.Key(settings)})
	fmt.Println(answer.Version, string(answer.Body), err)

	for _, status := range []string{"starting", "running"} {
		err := m.Update(ctx, meta.Object{Key: meta.Key{Resource: "pods/status", Namespace: "plant", Name: "web"}, Body: []byte(status)})
		if err != nil {
			fmt.Println(err)
		}
	}
	waiting, _ := m.StateOutbox().Versions(ctx)
	for key := range waiting {
		o, err := m.StateOutbox().Load(ctx, key, "")
		fmt.Println("to send:", key, string(o.Body), err)
	}
	// Output:
	// 41 {"data":{}} <nil>
	// to send: pods/status/plant/web running <nil>
}
