package host_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// sets calls edgepipe's stream and returns a function that waits for a Set that check wants.
func (n *node) sets(t *testing.T) func(what string, check func(s *wire.Set) bool) {
	t.Helper()
	resp, err := n.client(t).Get("http://h" + wire.PathPipelines)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	list := json.NewDecoder(resp.Body)
	timer := time.AfterFunc(patience, func() { resp.Body.Close() })
	t.Cleanup(func() { timer.Stop() })
	return func(what string, check func(s *wire.Set) bool) {
		t.Helper()
		for {
			var s wire.Set
			if err := list.Decode(&s); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if check(&s) {
				return
			}
		}
	}
}

// TestDeviceLabels: edgepipe gets the labels of Devices while a Pipeline selects by them, of its
// namespace only.
func TestDeviceLabels(t *testing.T) {
	n := newNode(t, lives)
	device := func(namespace, name string) meta.Key {
		return meta.Key{Resource: resources.Devices, Namespace: namespace, Name: name}
	}
	put := func(k meta.Key, labels string) {
		t.Helper()
		n.put(t, k, fmt.Sprintf(`{"metadata":{"namespace":%q,"name":%q,"labels":%s},"spec":{"nodeName":"edge-7"}}`, k.Namespace, k.Name, labels))
	}
	put(device("plant", "a"), `{"kind":"pump"}`)
	put(device("other", "a"), `{"kind":"pump"}`)
	n.put(t, key("p"), pipelineText("p"))
	_, stop := n.run(t)
	until := n.sets(t)
	until("no Pipeline selects", func(s *wire.Set) bool { return len(s.Pipelines) == 1 && len(s.Devices) == 0 })
	n.put(t, key("q"), `{"metadata":{"namespace":"plant","name":"q"},"spec":{"sources":[{"name":"in","twin":{"selector":{"matchLabels":{"kind":"pump"}}}}]}}`)
	want := func(what string, devices ...wire.Device) {
		t.Helper()
		until(what, func(s *wire.Set) bool { return reflect.DeepEqual(s.Devices, devices) })
	}
	a := wire.Device{Namespace: "plant", Name: "a", Labels: map[string]string{"kind": "pump"}}
	want("a device", a)
	put(device("plant", "b"), `null`)
	want("one without labels", a, wire.Device{Namespace: "plant", Name: "b"})
	put(device("plant", "b"), `{"kind":"valve"}`)
	want("a change", a, wire.Device{Namespace: "plant", Name: "b", Labels: map[string]string{"kind": "valve"}})
	n.remove(t, device("plant", "b"))
	want("one removed", a)
	n.remove(t, key("q"))
	until("no Pipeline selects any more", func(s *wire.Set) bool { return len(s.Pipelines) == 1 && len(s.Devices) == 0 })
	stop()
}
