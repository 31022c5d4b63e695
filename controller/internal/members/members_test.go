package members_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/internal/runguard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a cloudcore's Members. stop ends it in order; kill makes its calls fail first, so that
// its Lease stays.
func start(t *testing.T, client *fake.Clientset, id string) (m *members.Members, stop, kill func()) {
	t.Helper()
	own := &mortal{LeaseInterface: client.CoordinationV1().Leases("edgekit-system")}
	m, err := members.New(members.Config{Leases: own, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	synctest.Wait()
	return m, stop, func() { own.kill(); stop() }
}

// shares counts whose each of 3,000 pieces of work is. It fails if one is nobody's or two's.
func shares(t *testing.T, all map[string]*members.Members) map[string]int {
	t.Helper()
	out := make(map[string]int)
	for i := range 3000 {
		owner := ""
		for id, m := range all {
			if m.Mine(fmt.Sprintf("node-%d", i)) {
				if owner != "" {
					t.Fatalf("work %d is that of %s and %s", i, owner, id)
				}
				owner = id
			}
		}
		if owner == "" {
			t.Fatalf("work %d is nobody's", i)
		}
		out[owner]++
	}
	return out
}

func TestWorkIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		a, _, _ := start(t, client, "a")
		if got := shares(t, map[string]*members.Members{"a": a}); got["a"] != 3000 {
			t.Errorf("alone: %v", got)
		}
		b, stopB, _ := start(t, client, "b")
		c, _, killC := start(t, client, "c")
		time.Sleep(2 * members.RenewEvery)
		synctest.Wait()
		all := map[string]*members.Members{"a": a, "b": b, "c": c}
		for id, n := range shares(t, all) {
			if n < 850 || n > 1150 {
				t.Errorf("three: %s has %d of 3000", id, n)
			}
		}
		killC()
		delete(all, "c")
		time.Sleep(members.Life - 2*members.RenewEvery)
		synctest.Wait()
		if !a.Alive("c") || a.Gone("c") {
			t.Error("c has gone, and its Lease still counts")
		}
		time.Sleep(5 * members.RenewEvery)
		synctest.Wait()
		if a.Alive("c") || !a.Gone("c") || !b.Gone("c") || a.Generation() != 1 {
			t.Error("c was killed, and counts as running")
		}
		shares(t, all)
		stopB()
		time.Sleep(members.RenewEvery)
		synctest.Wait()
		if !a.Gone("b") {
			t.Error("b has stopped, and counts as running")
		}
		if got := shares(t, map[string]*members.Members{"a": a}); got["a"] != 3000 {
			t.Errorf("alone again: %v", got)
		}
		time.Sleep(15 * time.Minute)
		synctest.Wait()
		list, err := client.CoordinationV1().Leases("edgekit-system").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Errorf("%d Leases after a quarter of an hour, %v: want that of the one that runs", len(list.Items), err)
		}
	})
}

// TestNothingKnown has an API server that refuses to list: all work is one's own.
func TestNothingKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		client.PrependReactor("list", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(coordinationv1.Resource("leases"), "", nil)
		})
		a, _, _ := start(t, client, "a")
		b, _, _ := start(t, client, "b")
		time.Sleep(time.Minute)
		synctest.Wait()
		if !a.Mine("x") || !b.Mine("x") || a.Alive("b") || a.Gone("b") {
			t.Error("something is known where nothing can be read")
		}
	})
}

// TestShortOutage: an API server that was away for about as long as a Lease lives makes nobody gone.
// The first cloudcore that looks after it finds only Leases that nobody could renew.
func TestShortOutage(t *testing.T) {
	for away := 9 * time.Second; away <= 12*time.Second; away += time.Second {
		t.Run(away.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset()
				out := atomic.Bool{}
				client.PrependReactor("*", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
					if out.Load() {
						return true, nil, apierrors.NewServiceUnavailable("away")
					}
					return false, nil, nil
				})
				b, _, _ := start(t, client, "b")
				time.Sleep(time.Second)
				a, _, _ := start(t, client, "a")
				time.Sleep(10*time.Second + 250*time.Millisecond)
				out.Store(true)
				time.Sleep(away)
				out.Store(false)
				for range 20 {
					time.Sleep(members.RenewEvery / 4)
					synctest.Wait()
					if a.Gone("b") || b.Gone("a") {
						t.Fatal("a cloudcore that runs has gone")
					}
				}
				if a.Generation()+b.Generation() != 0 {
					t.Error("a cloudcore that runs had gone")
				}
			})
		})
	}
}

// TestRun holds Run to the rules of all Run methods.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, stop, _ := start(t, controllertest.NewClientset(), "a")
		stop()
		if err := a.Run(t.Context()); !errors.Is(err, runguard.ErrStarted) {
			t.Errorf("a second Run: %v", err)
		}
	})
}

// TestLeaseName has the API server's own rule for names, which a fake does not know.
func TestLeaseName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		start(t, client, "Host.example_1-ABC")
		list, err := client.CoordinationV1().Leases("edgekit-system").List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			t.Fatal(len(list.Items), err)
		}
		if why := validation.IsDNS1123Subdomain(list.Items[0].Name); len(why) > 0 {
			t.Errorf("the Lease's name is %q: %s", list.Items[0].Name, why)
		}
	})
}

func TestNone(t *testing.T) {
	var m *members.Members
	if !m.Mine("x") || m.Alive("x") || m.Gone("x") || m.Generation() != 0 || m.Known() {
		t.Error("without members, all work is one's own")
	}
	if _, err := members.New(members.Config{}); err == nil {
		t.Error("an empty Config was accepted")
	}
}
