package leader_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/leader"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestOneLeads: of two one leads at a time; when the first ends, the other goes on at once.
func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := controllertest.NewClientset().CoordinationV1().Leases("edgekit-system")
		var leading, most, turns atomic.Int64
		run := func(ctx context.Context, id string) {
			leader.New(leader.Config{Leases: leases, Lease: "edgekit-test", ID: id, Work: "a test"}).Campaign(ctx, func(ctx context.Context) {
				turns.Add(1)
				most.Store(max(most.Load(), leading.Add(1)))
				<-ctx.Done()
				leading.Add(-1)
			})
		}
		first, stop := context.WithCancel(t.Context())
		go run(first, "a")
		synctest.Wait()
		second, end := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); run(second, "b") }()
		time.Sleep(time.Minute)
		if leading.Load() != 1 || turns.Load() != 1 {
			t.Errorf("%d lead, %d turns", leading.Load(), turns.Load())
		}
		stop()
		time.Sleep(5 * time.Second)
		if leading.Load() != 1 || turns.Load() != 2 || most.Load() != 1 {
			t.Errorf("after the first ended %d lead, %d turns, %d at a time", leading.Load(), turns.Load(), most.Load())
		}
		end()
		<-done
	})
}

// TestDeletedLease: who leads stops at its next look when the Lease is gone, since another may
// have made a new one.
func TestDeletedLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leases := controllertest.NewClientset().CoordinationV1().Leases("edgekit-system")
		ctx, stop := context.WithCancel(t.Context())
		var turns atomic.Int64
		done := make(chan struct{})
		go func() {
			defer close(done)
			leader.New(leader.Config{Leases: leases, Lease: "edgekit-test", ID: "a", Work: "a test"}).Campaign(ctx, func(ctx context.Context) {
				turns.Add(1)
				<-ctx.Done()
			})
		}()
		synctest.Wait()
		if err := leases.Delete(ctx, "edgekit-test", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		if turns.Load() != 2 {
			t.Errorf("%d turns after the Lease was deleted: want a new one", turns.Load())
		}
		stop()
		<-done
	})
}

// TestRefusedIsLogged: a cloudcore that may not use the Lease says so once, where an
// administrator sees it.
func TestRefusedIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		client.PrependReactor("get", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("no right")
		})
		var log bytes.Buffer
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		defer stop()
		leader.New(leader.Config{
			Leases: client.CoordinationV1().Leases("edgekit-system"), Lease: "edgekit-test", ID: "a", Work: "a test", Logger: slog.New(slog.NewTextHandler(&log, nil)),
		}).Campaign(ctx, func(context.Context) { t.Error("it leads") })
		if n := strings.Count(log.String(), "no right"); n != 1 {
			t.Errorf("%d messages: %s", n, log.String())
		}
	})
}
