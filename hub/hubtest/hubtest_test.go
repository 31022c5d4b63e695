package hubtest_test

import (
	"context"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// The fakes pass the suites that they are used beside.

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
