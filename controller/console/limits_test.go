package console_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/edgekit/edgekit/controller/console"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestPodCounts: a user who may list nodes but no pods does not learn how many pods a node has.
func TestPodCounts(t *testing.T) {
	w := newWorld(t, console.Config{})
	server := w.served(t)
	for user, want := range map[string]bool{"viewer": true, "only-nodes": false} {
		for _, path := range []string{"nodes", "nodes/edge-1"} {
			out := w.send(http.MethodGet, "/console/api/v1/"+path, as(user), "")
			if out.Code != http.StatusOK || strings.Contains(out.Body.String(), `"pods":2`) != want || strings.Contains(out.Body.String(), `"pods"`) != want {
				t.Errorf("%s %s: %d %s", user, path, out.Code, out.Body)
			}
		}
		s := w.open(t, server, user, "stream?topics=nodes")
		s.next("retry: ")
		n := edgeNode("edge-1", "north", "True")
		n.Status.NodeInfo.KubeletVersion = "v-" + user
		if _, err := w.kube.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if s.next("data: "); strings.Contains(s.Text(), `"pods":2`) != want || strings.Contains(s.Text(), `"pods"`) != want {
			t.Errorf("%s, stream: %s", user, s.Text())
		}
	}
}

// TestAttackNames: names that no object can have are refused before the API server is asked
// about them, or an answer about them is kept.
func TestAttackNames(t *testing.T) {
	w := newWorld(t, console.Config{})
	w.get(t, "nobody", "me", nil)
	w.mu.Lock()
	before := w.reviews
	w.mu.Unlock()
	long := strings.Repeat("x", 50<<10)
	for _, path := range []string{
		"nodes/" + long, "nodes/" + long + "/pods", "devices/plant/" + long, "devices/" + long + "/a", "devices?namespace=" + long,
		"nodes/a/pods?namespace=" + long, "jobs/NodeUpgradeJob/" + long, "devices/plant/" + long + "/live", "pods/plant/" + long + "/log",
	} {
		if code := w.get(t, "nobody", path, nil); code != http.StatusBadRequest {
			t.Errorf("%.30s: %d", path, code)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reviews != before || len(w.asked) != 0 {
		t.Errorf("the API server was asked %d times, and %d with the user's token", w.reviews-before, len(w.asked))
	}
}

// TestAttackRequests: one user has a quarter of the requests that are answered at a time.
func TestAttackRequests(t *testing.T) {
	w := newWorld(t, console.Config{})
	release := make(chan struct{})
	w.setAnswer(func(http.ResponseWriter, *http.Request) { <-release })
	var requests sync.WaitGroup
	defer requests.Wait()
	defer close(release)
	for range 32 {
		requests.Go(func() { w.get(t, "nobody", "nodes/edge-1/events", nil) })
	}
	hubtest.Until(t, "requests that wait", func() bool { return len(w.requests()) == 32 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	out := w.send(http.MethodGet, "/console/api/v1/nodes/edge-1/events", func(r *http.Request) { *r = *r.WithContext(ctx); as("nobody")(r) }, "")
	if out.Code != http.StatusTooManyRequests {
		t.Errorf("request 33: %d %s", out.Code, out.Body)
	}
	if code := w.get(t, "viewer", "nodes", nil); code != http.StatusOK {
		t.Errorf("another user: %d", code)
	}
}

// TestAttackLogins: clients that send the body of a login slowly are bounded in number.
func TestAttackLogins(t *testing.T) {
	w := newWorld(t, console.Config{})
	var logins sync.WaitGroup
	defer logins.Wait()
	started := make(chan struct{}, 64)
	for range 64 {
		body, hold := io.Pipe()
		defer hold.Close()
		logins.Go(func() {
			r := httptest.NewRequest(http.MethodPost, "https://console.example/console/api/v1/session", readFirst{body, started})
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Edgekit-Console", "1")
			w.ServeHTTP(httptest.NewRecorder(), r)
		})
	}
	for range 64 {
		<-started
	}
	if code, _ := w.login("T-viewer", nil); code != http.StatusTooManyRequests {
		t.Errorf("login 65: %d", code)
	}
	if code := w.get(t, "viewer", "nodes", nil); code != http.StatusOK {
		t.Errorf("a user who is known: %d", code)
	}
}

// readFirst reports the first read.
type readFirst struct {
	io.Reader
	started chan<- struct{}
}

func (r readFirst) Read(b []byte) (int, error) {
	select {
	case r.started <- struct{}{}:
	default:
	}
	return r.Reader.Read(b)
}

// TestLogErrors: a log whose node is away is no fault of the API server, and one that breaks off
// does not look like one that has ended.
func TestLogErrors(t *testing.T) {
	w := newWorld(t, console.Config{})
	for _, code := range []int{500, 502, 504} {
		w.setAnswer(func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(code) })
		out := w.send(http.MethodGet, "/console/api/v1/pods/plant/a/log", as("root"), "")
		if out.Code != http.StatusServiceUnavailable || !strings.Contains(out.Body.String(), "its node may have lost its link") {
			t.Errorf("%d: %d %s", code, out.Code, out.Body)
		}
	}
	w.setAnswer(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write([]byte("line 1\n"))
		_ = http.NewResponseController(rw).Flush()
		panic(http.ErrAbortHandler)
	})
	s := w.open(t, w.served(t), "root", "pods/plant/a/log?follow=1")
	s.Split(bufio.ScanBytes)
	var text strings.Builder
	for s.Scan() {
		text.WriteString(s.Text())
	}
	if text.String() != "line 1\n" || s.Err() == nil {
		t.Errorf("%q, %v", text.String(), s.Err())
	}
}

// TestNodePhases: a node that has not answered in a job is Pending, also for the filter.
func TestNodePhases(t *testing.T) {
	w := newWorld(t, console.Config{})
	gv := v1alpha2.GroupVersion()
	result := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": gv.String(), "kind": "NodeJobResult", "metadata": map[string]any{"name": "up.edge-2", "resourceVersion": "9"},
		"spec": map[string]any{"kind": "NodeUpgradeJob", "job": "up", "jobUID": "u-1", "nodeName": "edge-2"},
	}}
	if _, err := w.dyn.Resource(gv.WithResource(v1alpha2.NodeJobResults)).Create(t.Context(), result, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var job struct {
		Nodes struct {
			Items []struct{ Node, Phase string }
		}
	}
	hubtest.Until(t, "the result", func() bool {
		job.Nodes.Items = nil
		return w.get(t, "viewer", "jobs/NodeUpgradeJob/up", &job) == http.StatusOK && len(job.Nodes.Items) == 2
	})
	job.Nodes.Items = nil
	w.get(t, "viewer", "jobs/NodeUpgradeJob/up?phase=Pending", &job)
	if len(job.Nodes.Items) != 1 || job.Nodes.Items[0].Node != "edge-2" {
		t.Errorf("%+v", job)
	}
}

// TestModelRight: what a DeviceModel says of a property is shown to who may get the DeviceModel.
func TestModelRight(t *testing.T) {
	w := newWorld(t, console.Config{})
	for user, want := range map[string]bool{"viewer": true, "only-devices": false} {
		out := w.send(http.MethodGet, "/console/api/v1/devices/plant/boiler", as(user), "")
		if out.Code != http.StatusOK || strings.Contains(out.Body.String(), `"unit":"Cel"`) != want {
			t.Errorf("%s: %d %s", user, out.Code, out.Body)
		}
	}
}

// TestAttackRights: a user who asks about ever new names has the API server asked a bounded number
// of times, and is the only one who notices.
func TestAttackRights(t *testing.T) {
	w := newWorld(t, console.Config{})
	w.get(t, "nobody", "me", nil)
	refused := 0
	for i := range 1000 {
		if w.get(t, "nobody", fmt.Sprint("nodes/none-", i), nil) == http.StatusTooManyRequests {
			refused++
		}
	}
	if refused < 300 {
		t.Errorf("%d of 1000 requests were refused", refused)
	}
	if code := w.get(t, "viewer", "nodes/edge-1", nil); code != http.StatusOK {
		t.Errorf("another user: %d", code)
	}
}
