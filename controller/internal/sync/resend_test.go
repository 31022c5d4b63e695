package sync_test

import (
	"context"
	"iter"
	"sync"
	"testing"
	"testing/synctest"

	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// acked is a Source all of whose reports were acknowledged: it lists none.
type acked struct{ hubtest.Source }

func (*acked) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return func(func(hub.Key, string) bool) {}, nil
}

// TestResend: a node has two reports that were acknowledged in an earlier session. It sends
// again the one that the cloud asks for, and is not disturbed by a key that it does not have.
func TestResend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := func(name string) hub.Key { return hub.Key{Resource: "devicestatuses", Namespace: "plant", Name: name} }
		var mu sync.Mutex
		got := map[string]int{}
		sink, err := nodesync.NewSink(nodesync.SinkConfig{Node: "edge-7",
			Resend: func() []hub.Key { return []hub.Key{key("one"), key("none")} },
			Writers: map[string]nodesync.Writer{"devicestatuses": func(_ context.Context, _ string, obj hub.Object) error {
				mu.Lock()
				defer mu.Unlock()
				if !obj.Deleted {
					got[obj.Key.Name]++
				}
				return nil
			}}})
		if err != nil {
			t.Fatal(err)
		}
		var reports acked
		reports.Put(key("one"), 7, "{}")
		reports.Put(key("two"), 8, "{}")
		oneSession(t, hub.ServerConfig{Directory: oneSink{sink}}, &reports)
		if len(got) != 1 || got["one"] != 1 {
			t.Errorf("sent again: %v", got)
		}
	})
}
