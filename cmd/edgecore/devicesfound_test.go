package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
)

func foundOf(t *testing.T, f *foundDevices) nodestate.Found {
	t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, nodestate.PathFound, nil))
	var out nodestate.Found
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFoundDevices follows what mappers publish, also what was retained before edgecore began.
func TestFoundDevices(t *testing.T) {
	b, err := bus.New(bus.Config{Internal: bustest.New()})
	if err != nil {
		t.Fatal(err)
	}
	f := newFoundDevices(b, "edge-7", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	<-b.Ready()
	publish := func(protocol, payload string) {
		t.Helper()
		m := bus.Message{Topic: topics.Node("edge-7", topics.Proposed(protocol)), Payload: []byte(payload), QoS: bus.AtLeastOnce, Retain: true}
		if err := b.Publish(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	handled := make(chan struct{}, 100)
	publish("opc/ua", `{"timestamp":5,"protocol":"opc/ua","proposals":[{"name":"press"}]}`)
	go func() { ended <- f.run(ctx) }()
	_, err = b.Subscribe(topics.Node("edge-7", topics.ProposedOfAll), func(ctx context.Context, m bus.Message) {
		f.handle(ctx, m) // once more: so it is known when it was handled
		handled <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	<-handled
	for _, payload := range []string{
		`{"timestamp":1,"protocol":"acme","proposals":[{"name":"pump-1"},{"name":"pump-2"}]}`,
		`{"timestamp":2,"protocol":"opc/ua","proposals":[]}`, // of another protocol than the topic's
		`{"timestamp":3,"protocol":"acme","proposals":[7]}`, `[`,
	} {
		publish("acme", payload)
		<-handled
	}
	got := foundOf(t, f)
	if got.Kind != nodestate.FoundKind || got.Node != "edge-7" || len(got.Lists) != 2 || got.Lists[0].Protocol != "acme" || len(got.Lists[0].Devices) != 2 ||
		got.Lists[1].Protocol != "opc/ua" || got.Lists[1].Timestamp != 5 || string(got.Lists[1].Devices[0]) != `{"name":"press"}` {
		t.Errorf("found: %+v", got)
	}
	publish("acme", "")
	<-handled
	if got := foundOf(t, f); len(got.Lists) != 1 {
		t.Errorf("found: %+v", got)
	}
}

// TestFoundDevicesBounds has mappers that propose more than there is room for.
func TestFoundDevicesBounds(t *testing.T) {
	f := newFoundDevices(nil, "edge-7", slog.New(slog.DiscardHandler))
	large := json.RawMessage(`{"name":"` + strings.Repeat("x", 8<<10) + `"}`)
	for i := range 100 {
		protocol := fmt.Sprint("p", i)
		list := nodestate.FoundList{Protocol: protocol}
		for range 3 {
			list.Devices = append(list.Devices, large)
		}
		f.put(protocol, list)
	}
	size, dropped := 0, 0
	got := foundOf(t, f)
	for _, l := range got.Lists {
		dropped += l.Dropped
		for _, d := range l.Devices {
			size += len(d) + foundOverhead
		}
	}
	if size > maxFoundBytes || size < maxFoundBytes-2*len(large) || len(got.Lists) > maxFoundLists || dropped == 0 {
		t.Errorf("%d bytes of %d protocols, %d dropped", size, len(got.Lists), dropped)
	}
	f.put("p0", nodestate.FoundList{})
	f.put("new", nodestate.FoundList{Protocol: "new", Devices: []nodestate.FoundDevice{large}})
	if list := f.lists["new"]; len(list.Devices) != 1 {
		t.Error("room that became free is not used")
	}
}

// TestManySmallFound has a mapper propose as many devices as a message holds: each costs memory, however
// short it is.
func TestManySmallFound(t *testing.T) {
	f := newFoundDevices(nil, "edge-7", slog.New(slog.DiscardHandler))
	list := nodestate.FoundList{Protocol: "p", Devices: slices.Repeat([]nodestate.FoundDevice{nodestate.FoundDevice(`{}`)}, maxFoundBytes/3)}
	f.put("p", list)
	f.put("q", list)
	kept := f.lists["p"]
	if n := len(kept.Devices); n == 0 || n > maxFoundBytes/foundOverhead || cap(kept.Devices) > 2*n || n+kept.Dropped != len(list.Devices) {
		t.Errorf("%d devices are kept, %d dropped", n, kept.Dropped)
	}
	if q := f.lists["q"]; len(q.Devices) != 0 || q.Dropped != len(list.Devices) {
		t.Errorf("of another protocol %d devices are kept, %d dropped", len(q.Devices), q.Dropped)
	}
}

func FuzzDecodeFound(f *testing.F) {
	f.Add([]byte(`{"timestamp":1,"protocol":"acme","proposals":[{"name":"pump-1"},{}]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		list, err := decodeFound("acme", payload)
		if err == nil && len(list.Devices) > 0 && list.Protocol != "acme" {
			t.Errorf("%q was taken", payload)
		}
		if _, err := json.Marshal(list); err != nil {
			t.Errorf("%q: %v", payload, err)
		}
	})
}
