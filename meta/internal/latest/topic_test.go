package latest_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/meta/internal/latest"
)

func TestTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var topic latest.Topic[int]
		ctx, cancel := context.WithCancel(t.Context())
		early := topic.Subscribe(ctx)
		select {
		case v := <-early:
			t.Errorf("got %d before anything was published", v)
		default:
		}
		for i := range 5 {
			topic.Publish(i)
		}
		late := topic.Subscribe(ctx)
		if a, b := <-early, <-late; a != 4 || b != 4 {
			t.Errorf("subscribers got %d and %d, want the newest", a, b)
		}
		if v, ok := topic.Value(); v != 4 || !ok {
			t.Errorf("Value is %d, %t", v, ok)
		}
		cancel()
		synctest.Wait()
		topic.Publish(5)
		if v, open := <-early; open {
			t.Errorf("got %d after the context ended", v)
		}
	})
}
