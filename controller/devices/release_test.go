package devices

import (
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/hub"
)

// TestSessionEnds: reports of a node without a session here take no memory once they are
// written.
func TestSessionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{Cloud: fake.NewClientset(), Dynamic: dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())})
		if err != nil {
			t.Fatal(err)
		}
		stop := c.Source("n").Subscribe(func(hub.Key) {})
		written, waiting := cache.Name{Namespace: "plant", Name: "written"}, cache.Name{Namespace: "plant", Name: "waiting"}
		for _, name := range []cache.Name{written, waiting} {
			c.byNode.Add("n", name)
			r := c.reportOf(name)
			r.hold("n", []byte("{}"), v1beta1.DeviceStatusStatus{})
			r.written.uid = "u"
		}
		if !c.waiting.TryAcquire(2) {
			t.Fatal("no room")
		}
		c.reportOf(waiting).waiting = 2
		stop()
		if r := c.reportOf(written); r.body != nil || r.written.uid != "" {
			t.Errorf("kept: %+v", r)
		}
		r := c.reportOf(waiting)
		if r.body == nil {
			t.Fatal("a report that is not written yet is dropped")
		}
		c.settled(r, r.body)
		r.release()
		if r.body != nil {
			t.Error("kept after it was written")
		}
	})
}

// TestRemovedWhileWritten: a device that is removed while its write fails has no turn left.
func TestRemovedWhileWritten(t *testing.T) {
	turns := newTurns(time.Second, rate.NewLimiter(rate.Inf, 1))
	name := cache.Name{Namespace: "plant", Name: "boiler"}
	turns.add(name, false)
	if got, ok := turns.next(t.Context()); !ok || got != name {
		t.Fatal(got, ok)
	}
	turns.remove(name)
	turns.delay(name, time.Second)
	turns.done(name)
	if len(turns.devices) != 0 {
		t.Errorf("kept: %+v", turns.devices[name])
	}
}
