package pipelines

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic/fake"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
)

// server has one Pipeline, and applies statuses as an API server does: only to the version that
// the writer has read.
type server struct {
	mu      sync.Mutex
	now     v1alpha1.Pipeline
	version int
	writes  int
}

func (s *server) object(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	o := s.now
	o.ResourceVersion = fmt.Sprint(s.version)
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&o)
	if err != nil {
		t.Fatal(err)
	}
	return &unstructured.Unstructured{Object: u}
}

// client is a client of the server.
func (s *server) client(t *testing.T) *fake.FakeDynamicClient {
	t.Helper()
	resource := v1alpha1.GroupVersion().WithResource(wire.Pipelines)
	c := fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{resource: "PipelineList"})
	c.PrependReactor("get", wire.Pipelines, func(clienttesting.Action) (bool, runtime.Object, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return true, s.object(t), nil
	})
	c.PrependReactor("patch", wire.Pipelines, func(a clienttesting.Action) (bool, runtime.Object, error) {
		patch, ok := a.(clienttesting.PatchAction)
		var o v1alpha1.Pipeline
		if !ok || json.Unmarshal(patch.GetPatch(), &o) != nil || patch.GetSubresource() != "status" {
			return true, nil, apierrors.NewBadRequest("no patch of a status")
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if o.ResourceVersion != fmt.Sprint(s.version) {
			return true, nil, apierrors.NewConflict(resource.GroupResource(), o.Name, fmt.Errorf("version %s is not the newest", o.ResourceVersion))
		}
		s.version++
		s.writes++
		s.now.Status = o.Status
		return true, s.object(t), nil
	})
	return c
}

func (s *server) status() v1alpha1.PipelineStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *s.now.Status.DeepCopy()
}

var name = cache.Name{Namespace: "plant", Name: "p"} // of the Pipeline

// newServer makes a server with a Pipeline for one node.
func newServer() *server {
	return &server{version: 1, now: v1alpha1.Pipeline{
		ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name, UID: "u", Generation: 1}, Spec: v1alpha1.PipelineSpec{NodeName: "edge-1"},
	}}
}

// newCloudcore makes the statuses of one cloudcore.
func newCloudcore(t *testing.T, s *server, id string, change func(*Config)) *statuses {
	t.Helper()
	nodes, err := cache.New(cache.Config[*corev1.Node]{ListWatch: &toolscache.ListWatch{}, Type: &corev1.Node{}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Cloud: kubefake.NewClientset(), Dynamic: s.client(t), Nodes: nodes, ID: id}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c.statuses
}

// TestParts: cloudcores that write at the same time lose no counts of each other, and the part of
// one that has gone is left out.
func TestParts(t *testing.T) {
	s := newServer()
	gone := ""
	var all []*statuses
	for i := range 4 {
		one := newCloudcore(t, s, fmt.Sprintf("cloudcore-%d", i), func(c *Config) { c.Gone = func(id string) bool { return id == gone } })
		state := wire.Running
		if i == 3 {
			state = wire.Failed
		}
		one.report(name, fmt.Sprintf("edge-%d", i), &wire.Report{UID: "u", Generation: 1, State: state})
		all = append(all, one)
	}
	var work sync.WaitGroup
	for _, one := range all {
		work.Go(func() {
			// A write that finds the newest version taken is tried again later, as run does.
			for apierrors.IsConflict(one.write(t.Context(), name)) {
			}
		})
	}
	work.Wait()
	if st := s.status(); st.Running != 3 || st.Failed != 1 || len(st.Parts) != 4 || s.writes != 4 {
		t.Errorf("%+v after %d writes", st, s.writes)
	}
	if err := all[0].write(t.Context(), name); err != nil || s.writes != 4 {
		t.Errorf("a status that is right is written again: %v", err)
	}
	gone = "cloudcore-3"
	if err := all[0].write(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if st := s.status(); st.Running != 3 || st.Failed != 0 || len(st.Parts) != 3 {
		t.Errorf("after a cloudcore has gone: %+v", st)
	}
	all[1].forget("edge-1")
	if err := all[1].write(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if st := s.status(); st.Running != 2 || len(st.Parts) != 2 {
		t.Errorf("after a node has gone: %+v", st)
	}
}

// TestFailureIsOver: a failure that a node reports is gone with the node's next report, whatever
// its reason; those of cloudcore's own deliveries stay until the URL takes events.
func TestFailureIsOver(t *testing.T) {
	one := newCloudcore(t, newServer(), "cloudcore-1", nil)
	one.failure(name, "edge-1", wire.Failure{Step: "up", Reason: v1alpha1.ReasonSinkRetrying, Message: "500"}, 0)
	for range 3 {
		one.report(name, "edge-1", &wire.Report{UID: "u", Generation: 1, State: wire.Running, Failures: []wire.Failure{{Step: "kafka", Reason: v1alpha1.ReasonSinkRetrying, Message: "no broker"}}})
	}
	steps := func() (list []string) {
		for _, f := range one.tallies[name].failures() {
			list = append(list, f.Step)
		}
		return list
	}
	if got := steps(); len(got) != 2 {
		t.Errorf("two sinks fail: %v", got)
	}
	one.report(name, "edge-1", &wire.Report{UID: "u", Generation: 1, State: wire.Running})
	if got := steps(); len(got) != 1 || got[0] != "up" {
		t.Errorf("kafka takes events again: %v", got)
	}
	one.taken(name, "edge-1", "up", 1)
	if got := steps(); len(got) != 0 {
		t.Errorf("the URL takes events again: %v", got)
	}
}

// TestUrgent: the status of a new generation does not wait for the time of counts.
func TestUrgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := newCloudcore(t, newServer(), "cloudcore-1", func(c *Config) { c.StatusEvery = time.Hour })
		begun := time.Now()
		one.changed(name)
		var work sync.WaitGroup
		defer work.Wait()
		work.Go(func() {
			time.Sleep(time.Minute)
			one.mu.Lock()
			one.dirty[name] = true
			one.mu.Unlock()
			one.notify()
		})
		if !one.wait(context.WithoutCancel(t.Context()), begun, 0) {
			t.Error("the context has ended")
		}
		if took := time.Since(begun); took > 2*time.Minute {
			t.Errorf("the new generation waits %v", took)
		}
	})
}

// TestCheckOnce: a Pipeline is compiled once for each generation, not at each write of its status.
func TestCheckOnce(t *testing.T) {
	s, checks := newServer(), 0
	one := newCloudcore(t, s, "cloudcore-1", func(c *Config) { c.Check = func(*v1alpha1.Pipeline) error { checks++; return errors.New("no") } })
	for generation := range int64(2) {
		s.now.Generation = generation + 1
		one.pipelineChanged(name, s.now.DeepCopy())
		for range 3 {
			if err := one.write(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		st := s.status()
		if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionAccepted); c == nil || c.Message != "no" || c.ObservedGeneration != generation+1 {
			t.Errorf("%+v", c)
		}
	}
	if checks != 2 {
		t.Errorf("two generations were checked %d times", checks)
	}
}

// TestCheckPanics: a defect in what checks Pipelines is said in the status, and cloudcore goes on.
func TestCheckPanics(t *testing.T) {
	s := newServer()
	one := newCloudcore(t, s, "cloudcore-1", func(c *Config) { c.Check = func(*v1alpha1.Pipeline) error { panic("a defect") } })
	if err := one.write(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	st := s.status()
	if c := meta.FindStatusCondition(st.Conditions, v1alpha1.ConditionAccepted); c == nil || c.Status != metav1.ConditionFalse || !strings.Contains(c.Message, "defect") {
		t.Errorf("%+v", c)
	}
}
