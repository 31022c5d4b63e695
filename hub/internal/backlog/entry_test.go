package backlog_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub/internal/backlog"
)

// TestEntry has two in at once, and the next one in as soon as one has left, in
// whatever way.
func TestEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, begun := backlog.NewEntry(2, nil), time.Now()
		first, second := e.Enter(t.Context().Done()), e.Enter(t.Context().Done())
		go func() {
			time.Sleep(time.Second)
			first.Leave()
			first.Leave()
		}()
		third := e.Enter(t.Context().Done())
		if took := time.Since(begun); took != time.Second {
			t.Errorf("the third came in after %v", took)
		}
		fourth := e.Enter(t.Context().Done()) // for the second one, which never leaves by itself
		if took := time.Since(begun); took != backlog.Patience {
			t.Errorf("the fourth came in after %v", took)
		}
		second.Leave()
		done := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(done) })
		if e.Enter(done) != nil {
			t.Error("the one who had to leave left twice")
		}
		third.Leave()
		fourth.Leave()
	})
}
