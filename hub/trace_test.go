package hub_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// tracedSource gives each object a trace and notes what was delivered.
type tracedSource struct {
	hubtest.Source
	mu   sync.Mutex
	done []string
}

func (s *tracedSource) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	o, err := s.Source.Load(ctx, key, held)
	o.Trace = traceparent
	return o, err
}

func (s *tracedSource) TraceDelivered(key hub.Key, trace string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = append(s.done, fmt.Sprintf("%s %v %v", key.Name, trace == traceparent, err))
}

func (s *tracedSource) delivered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(slices.Values(s.done))
}

// TestTrace: the trace of an object reaches the Sink, in both directions, and the Source hears when the
// object was delivered and when it was refused.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := memconn.New(memconn.Config{})
		down, up := &tracedSource{}, &tracedSource{}
		atEdge, atCloud := &traceSink{}, &traceSink{}
		key := func(resource, name string) hub.Key { return hub.Key{Resource: resource, Namespace: "a", Name: name} }
		server, err := hub.NewServer(hub.ServerConfig{Listener: n, Directory: hub.DirectoryFunc(func(context.Context, hub.Hello) (hub.Node, error) {
			return hub.Node{Down: down, Up: atCloud}, nil
		})})
		if err != nil {
			t.Fatal(err)
		}
		client, err := hub.NewClient(hub.ClientConfig{Dialer: n.Dialer("a"), Node: "a", Down: atEdge, Up: up})
		if err != nil {
			t.Fatal(err)
		}
		stopServer := program(t, server.Run)
		stopClient := program(t, client.Run)
		synctest.Wait()
		down.Put(key("pods", "web"), 1, "{}")
		down.Put(key("pods", "refused"), 2, "{}")
		up.Put(key("pods/status", "web"), 1, "{}")
		synctest.Wait()
		want := []string{"refused true hub: peer: never", "web true <nil>"}
		if got := down.delivered(); !slices.Equal(got, want) {
			t.Errorf("down: %q, want %q", got, want)
		}
		if got := up.delivered(); !slices.Equal(got, want[1:]) {
			t.Errorf("up: %q", got)
		}
		if got := atEdge.traces(); !slices.Equal(got, []string{"pods/a/web"}) {
			t.Errorf("at the edge: %q", got)
		}
		if got := atCloud.traces(); !slices.Equal(got, []string{"pods/status/a/web"}) {
			t.Errorf("in the cloud: %q", got)
		}
		stopClient()
		stopServer()
	})
}

// traceSink refuses objects named refused, and notes which of the others have the trace.
type traceSink struct {
	hubtest.Sink
	mu   sync.Mutex
	with []string
}

func (s *traceSink) Apply(ctx context.Context, objects []hub.Object) error {
	for _, o := range objects {
		if o.Key.Name == "refused" {
			return &hub.Error{Code: hub.CodeInvalid, Text: "never"}
		}
		if o.Trace == traceparent {
			s.mu.Lock()
			s.with = append(s.with, o.Key.String())
			s.mu.Unlock()
		}
	}
	return s.Sink.Apply(ctx, objects)
}

func (s *traceSink) traces() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(s.with)))
}
