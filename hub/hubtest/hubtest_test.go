package hubtest_test

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The fakes pass the suites of this package.

func TestOutbox(t *testing.T) {
	hubtest.RunOutbox(t, hubtest.OutboxSuite{
		Open: func(*testing.T) hub.Outbox { return &hubtest.Outbox{} },
		Append: func(_ context.Context, o hub.Outbox, source, body string) error {
			o.(*hubtest.Outbox).Append(source, hub.Key{Resource: "events"}, body)
			return nil
		},
		Reopen: func(_ *testing.T, o hub.Outbox) hub.Outbox { return o },
	})
}

func TestInbox(t *testing.T) {
	hubtest.RunInbox(t, hubtest.InboxSuite{
		Open:   func(*testing.T) hub.Inbox { return &hubtest.Inbox{} },
		Reopen: func(_ *testing.T, i hub.Inbox) hub.Inbox { return i },
	})
}

func TestSource(t *testing.T) {
	var mu sync.Mutex
	version := 0
	next := func() int {
		mu.Lock()
		defer mu.Unlock()
		version++
		return version
	}
	hubtest.RunSource(t, hubtest.SourceSuite{
		Open: func(*testing.T) hub.Source { return &hubtest.Source{} },
		Put: func(_ context.Context, s hub.Source, key hub.Key, body string) error {
			s.(*hubtest.Source).Put(key, next(), body)
			return nil
		},
		Delete: func(_ context.Context, s hub.Source, key hub.Key) error {
			s.(*hubtest.Source).Delete(key, next())
			return nil
		},
	})
}

func TestSink(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		hubtest.RunSink(t, hubtest.SinkSuite{
			Open: func(*testing.T) hub.Sink { return &hubtest.Sink{Forgetful: forgets} }, Forgets: forgets,
			Reopen: func(_ *testing.T, s hub.Sink) hub.Sink { return s },
		})
	}
}
