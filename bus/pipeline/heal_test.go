package pipeline_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestStoreFailureIsOver wants a failure of a queue's store to be in the status no longer than it
// lasts.
func TestStoreFailureIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		store := &failingStore{Store: w.store}
		w.queues.Store = store
		w.run(parse(t, ends))
		store.fail(errors.New("no space left on device"))
		w.emit("a", obj(1.0))
		if s := w.only(); len(s.Failures) != 1 || s.Failures[0].Step != "out" || s.Failures[0].Reason != v1alpha1.ReasonStoreFailed {
			t.Errorf("%+v", s)
		}
		store.fail(nil)
		w.pass(2 * time.Minute)
		if s := w.only(); len(s.Failures) != 0 || s.Steps[1].Queue.Events != 0 {
			t.Errorf("%+v", s)
		}
		w.stop()
	})
}
