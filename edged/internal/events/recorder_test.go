package events_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/events"
)

// kept keeps the events that it gets.
type kept struct {
	mu   sync.Mutex
	list []corev1.Event
}

func (k *kept) Event(_ context.Context, e *corev1.Event) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.list = append(k.list, *e)
	return nil
}

// TestInvolvedObject: each event names its object as Kubernetes' own tools expect.
func TestInvolvedObject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := &kept{}
		r := events.New("edge", reports, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web-uid"}}
		pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		r.Node(corev1.EventTypeWarning, "RegisteredAgain", "the Node is back")
		r.Pod(pod, corev1.EventTypeNormal, "Scheduled", "it runs here")
		r.Container(pod, "init", corev1.EventTypeNormal, "Started", "it runs")
		synctest.Wait()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []corev1.ObjectReference{
			{Kind: "Node", APIVersion: "v1", Name: "edge", UID: "edge"},
			{Kind: "Pod", APIVersion: "v1", Namespace: "ns", Name: "web", UID: "web-uid"},
			{Kind: "Pod", APIVersion: "v1", Namespace: "ns", Name: "web", UID: "web-uid", FieldPath: "spec.initContainers{init}"},
		}
		if len(reports.list) != len(want) {
			t.Fatalf("%d events, want %d", len(reports.list), len(want))
		}
		for i, e := range reports.list {
			if e.InvolvedObject != want[i] || e.Source.Component != "kubelet" {
				t.Errorf("event %s is of %+v, want %+v", e.Reason, e.InvolvedObject, want[i])
			}
		}
		if ns := reports.list[0].Namespace; ns != metav1.NamespaceDefault {
			t.Errorf("an event of the node is in the namespace %q", ns)
		}
	})
}

// TestLimit: more events than allowed are dropped; without a limit none is.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct{ qps, burst, want int }{{0, 0, 200}, {10, 20, 20}} {
			reports := &kept{}
			r := events.New("edge", reports, slog.New(slog.DiscardHandler))
			r.Limit(tt.qps, tt.burst)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			for i := range 200 {
				r.Node(corev1.EventTypeNormal, fmt.Sprintf("Tested%d", i), "it works") // texts of one reason are combined
			}
			go func() { done <- r.Run(ctx) }()
			synctest.Wait()
			if len(reports.list) != tt.want {
				t.Errorf("%d a second, %d at once: %d events", tt.qps, tt.burst, len(reports.list))
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestLimitOfNode: an event of the node is reported beside more events of pods than allowed.
func TestLimitOfNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := &kept{}
		r := events.New("edge", reports, slog.New(slog.DiscardHandler))
		r.Limit(1, 5)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		for i := range 20 {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p", UID: types.UID(fmt.Sprint(i))}}
			r.Pod(pod, corev1.EventTypeNormal, "Tested", "it works")
		}
		r.Node(corev1.EventTypeWarning, "StoreUnwritable", "the disk is full")
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		if last := reports.list[len(reports.list)-1]; len(reports.list) != 6 || last.Reason != "StoreUnwritable" {
			t.Errorf("%d events, the last %s", len(reports.list), last.Reason)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestSimilar: an event whose text differs each time does not flood the cluster.
func TestSimilar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reports := &kept{}
		r := events.New("edge", reports, nil)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		names := func(from int) map[string]int32 {
			reports.mu.Lock()
			defer reports.mu.Unlock()
			out := make(map[string]int32)
			for _, e := range reports.list[from:] {
				out[e.Name] = max(out[e.Name], e.Count)
			}
			return out
		}
		for i := range 100 {
			r.Node(corev1.EventTypeWarning, "Failed", fmt.Sprintf("try %d", i))
			synctest.Wait()
		}
		last := reports.list[len(reports.list)-1]
		if n := len(names(0)); n != 11 || !strings.HasPrefix(last.Message, "(combined from similar events): try ") || last.Count < 20 {
			t.Errorf("%d events, the last %d times %q", n, last.Count, last.Message)
		}
		before := len(reports.list)
		r.Node(corev1.EventTypeWarning, "Other", "another reason")
		synctest.Wait()
		time.Sleep(11 * time.Minute)
		r.Node(corev1.EventTypeWarning, "Failed", "after a while")
		synctest.Wait()
		if n := names(before); len(n) != 2 {
			t.Errorf("%d events after them: %v", len(n), n)
		}
		if last := reports.list[len(reports.list)-1]; last.Message != "after a while" || last.Count != 1 {
			t.Errorf("%+v", last)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
