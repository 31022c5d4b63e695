package install_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/pipelines"
	"github.com/edgekit/edgekit/hub"
)

// pipelinesWorld is a cluster with Pipelines, and one cloudcore's part for them with the rights
// of the shipped role.
type pipelinesWorld struct {
	*pipelines.Controller
	admin dynamic.ResourceInterface
	all   dynamic.Interface
}

func startPipelines(t *testing.T, a *apiservertest.Server, cfg *rest.Config) *pipelinesWorld {
	t.Helper()
	kube := clientFor(t, cfg)
	own, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &pipelinesWorld{all: admin, admin: admin.Resource(v1alpha1.GroupVersion().WithResource(wire.Pipelines)).Namespace("default")}
	w.Controller, err = pipelines.New(pipelines.Config{
		Cloud: kube, Dynamic: own, Nodes: nodes, ID: "cc-1", LocalTargets: true, StatusEvery: 50 * time.Millisecond, Retry: 20 * time.Millisecond,
		Gone: func(id string) bool { return id == "cc-0" },
		Check: func(p *v1alpha1.Pipeline) error {
			if p.Name == "wrong" {
				return errors.New("hot: spec.steps[0].filter.expression: it ends too early")
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = nodes.Run(ctx) })
	wg.Go(func() { _ = w.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return w
}

func (w *pipelinesWorld) create(t *testing.T, in dynamic.ResourceInterface, name string, spec map[string]any) error {
	t.Helper()
	_, err := in.Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "pipelines.edgekit.io/v1alpha1", "kind": "Pipeline", "metadata": map[string]any{"name": name, "namespace": "default"}, "spec": spec,
	}}, metav1.CreateOptions{FieldValidation: "Strict"})
	return err
}

func (w *pipelinesWorld) status(t *testing.T, name string) *v1alpha1.Pipeline {
	t.Helper()
	u, err := w.admin.Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var p v1alpha1.Pipeline
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// soon waits until check returns nil.
func soon(t *testing.T, what string, check func() error) {
	t.Helper()
	tick, limit := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: %v", what, err)
		}
	}
}

func condition(p *v1alpha1.Pipeline, kind string) metav1.Condition {
	if c := meta.FindStatusCondition(p.Status.Conditions, kind); c != nil {
		return *c
	}
	return metav1.Condition{}
}

func specOf(where map[string]any, sink map[string]any) map[string]any {
	spec := map[string]any{
		"sources": []any{map[string]any{"name": "in", "mqtt": map[string]any{"topic": "a/+"}}},
		"sinks":   []any{sink},
	}
	for k, v := range where {
		spec[k] = v
	}
	return spec
}

// received is what the URL of a sink got.
type received struct {
	mu  sync.Mutex
	all []string // content type, node and body
}

func (r *received) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // a batch that broke off
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	kind, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
	r.all = append(r.all, kind+" "+req.Header.Get("Edgekit-Node")+" "+string(body))
	w.WriteHeader(http.StatusAccepted)
}

func (r *received) list() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.all, "\n")
}

// TestPipelines: Pipelines at a real kube-apiserver, with the rights of the shipped role: what
// nodes get and report, secrets only where an administrator allows it, events to URLs, and what
// a hostile node achieves.
func TestPipelines(t *testing.T) {
	a := apiservertest.Start(t)
	cfg := account(t, a)
	admin := clientFor(t, a.Admin)
	for node, zone := range map[string]string{"edge-1": "a", "edge-2": "b"} {
		labels := fmt.Sprintf(`{"metadata":{"labels":{%q:"","zone":%q}}}`, nodelifecycle.RoleLabel, zone)
		if _, err := admin.CoreV1().Nodes().Patch(t.Context(), node, types.MergePatchType, []byte(labels), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	w := startPipelines(t, a, cfg)
	got := new(received)
	url := httptest.NewServer(got)
	defer url.Close()
	up := map[string]any{"name": "up", "cloud": map[string]any{"url": url.URL + "/in"}, "secretRef": map[string]any{"name": "key"}}
	edge1 := map[string]any{"nodeName": "edge-1"}

	t.Run("schema", func(t *testing.T) {
		for what, spec := range map[string]map[string]any{
			"nodeName and nodeSelector": specOf(map[string]any{"nodeName": "n", "nodeSelector": map[string]any{}}, up),
			"no node":                   specOf(nil, up),
			"unknown field":             specOf(map[string]any{"nodeName": "n", "colour": "red"}, up),
			"two kinds":                 specOf(edge1, map[string]any{"name": "x", "cloud": map[string]any{"url": "http://x"}, "file": map[string]any{"path": "x"}}),
		} {
			if err := w.create(t, w.admin, "bad", spec); err == nil {
				t.Errorf("%s is accepted", what)
			}
		}
	})
	if err := w.create(t, w.admin, "p", specOf(edge1, up)); err != nil {
		t.Fatal(err)
	}
	if err := w.create(t, w.admin, "wrong", specOf(map[string]any{"nodeSelector": map[string]any{"matchLabels": map[string]any{"zone": "b"}}}, up)); err != nil {
		t.Fatal(err)
	}
	one, two := w.Source("edge-1"), w.Source("edge-2")
	defer one.Subscribe(func(hub.Key) {})()
	defer two.Subscribe(func(hub.Key) {})()
	key := hub.Key{Resource: wire.Pipelines, Namespace: "default", Name: "p"}
	input := hub.Key{Resource: wire.Inputs, Namespace: "default", Name: wire.InputName(wire.Secret, "key")}

	soon(t, "the secret may not be read", func() error {
		p := w.status(t, "p")
		if c := condition(p, v1alpha1.ConditionInputs); c.Reason != "Forbidden" || !strings.Contains(c.Message, "kubectl create rolebinding") || p.Status.Nodes != 1 {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	soon(t, "the expression is wrong", func() error {
		p := w.status(t, "wrong")
		if c := condition(p, v1alpha1.ConditionAccepted); c.Reason != v1alpha1.ReasonInvalid || c.Status != metav1.ConditionFalse || p.Status.Nodes != 1 {
			return fmt.Errorf("%+v", p.Status)
		}
		return nil
	})
	if _, err := one.Load(t.Context(), input, ""); !errors.Is(err, hub.ErrLagging) {
		t.Errorf("a secret that may not be read: %v", err)
	}
	o, err := one.Load(t.Context(), key, "")
	if err != nil || o.Deleted || !strings.Contains(string(o.Body), `"nodeName":"edge-1"`) || strings.Contains(string(o.Body), "managedFields") {
		t.Errorf("%+v, %v: %s", o, err, o.Body)
	}
	if o, err := two.Load(t.Context(), key, ""); err != nil || !o.Deleted {
		t.Errorf("another node gets %+v, %v", o, err)
	}

	t.Run("inputs", func(t *testing.T) {
		if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "edgekit-pipelines"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edgekit:cloudcore-pipelines"},
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "cloudcore", Namespace: "edgekit-system"}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		for i, password := range []string{"first", "second"} {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "key", Namespace: "default"}, StringData: map[string]string{"password": password}}
			var err error
			if i == 0 {
				_, err = admin.CoreV1().Secrets("default").Create(t.Context(), secret, metav1.CreateOptions{})
			} else {
				_, err = admin.CoreV1().Secrets("default").Update(t.Context(), secret, metav1.UpdateOptions{})
			}
			if err != nil {
				t.Fatal(err)
			}
			soon(t, "the secret comes", func() error {
				o, err := one.Load(t.Context(), input, "")
				var in wire.Input
				if err == nil {
					err = json.Unmarshal(o.Body, &in)
				}
				if err != nil || string(in.Data["password"]) != password {
					return fmt.Errorf("%+v, %w", in, err)
				}
				return nil
			})
		}
		soon(t, "the condition follows", func() error {
			if c := condition(w.status(t, "p"), v1alpha1.ConditionInputs); c.Status != metav1.ConditionTrue {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		if o, err := two.Load(t.Context(), hub.Key{Resource: wire.Inputs, Namespace: "default", Name: wire.InputName(wire.Secret, "other")}, ""); err != nil || !o.Deleted {
			t.Errorf("a secret that no Pipeline of the node names: %+v, %v", o, err)
		}
	})

	uid := string(w.status(t, "p").UID)
	report := func(node string, r wire.Report) error {
		body, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return w.Writers()[wire.Reports](t.Context(), node, hub.Object{Key: hub.Key{Resource: wire.Reports, Namespace: "default", Name: "p"}, Body: body})
	}
	t.Run("status", func(t *testing.T) {
		if err := report("edge-1", wire.Report{UID: uid, Generation: 1, State: wire.Running}); err != nil {
			t.Fatal(err)
		}
		soon(t, "it runs", func() error {
			p := w.status(t, "p")
			if p.Status.Running != 1 || p.Status.Failed != 0 || condition(p, v1alpha1.ConditionRunning).Status != metav1.ConditionTrue || len(p.Status.Parts) != 1 {
				return fmt.Errorf("%+v", p.Status)
			}
			return nil
		})
		if err := report("edge-2", wire.Report{UID: uid, Generation: 1, State: wire.Failed}); err != nil {
			t.Error(err)
		}
		many := wire.Report{UID: uid, Generation: 1, State: wire.Failed}
		for i := range 15 {
			many.Failures = append(many.Failures, wire.Failure{Step: fmt.Sprint(i), Reason: "Bad\nReason", Message: strings.Repeat("\x1b[31m", 300), Time: time.Now().Add(time.Hour)})
		}
		if err := report("edge-1", many); err != nil {
			t.Error(err)
		}
		if err := w.Writers()[wire.Reports](t.Context(), "edge-1", hub.Object{Key: hub.Key{Resource: wire.Reports, Namespace: "default", Name: "p"}, Body: []byte("{")}); err == nil {
			t.Error("a report that is none is accepted")
		}
		soon(t, "failures are bounded", func() error {
			p := w.status(t, "p")
			if p.Status.Failed != 1 || p.Status.Running != 0 || len(p.Status.Failures) != 3 {
				return fmt.Errorf("%+v", p.Status)
			}
			for _, f := range p.Status.Failures {
				if f.Node != "edge-1" || f.Reason != "BadReason" || len(f.Message) > wire.MaxMessage || strings.ContainsRune(f.Message, 0x1b) || f.Time.After(time.Now().Add(time.Minute)) {
					t.Errorf("%+v", f)
				}
			}
			return nil
		})
		w.Connected(hub.Info{Node: "edge-1"})
		soon(t, "a node without a link does not count", func() error {
			if p := w.status(t, "p"); p.Status.Failed+p.Status.Running != 0 || len(p.Status.Parts) != 0 || condition(p, v1alpha1.ConditionRunning).Reason != v1alpha1.ReasonStarting {
				return fmt.Errorf("%+v", p.Status)
			}
			return nil
		})
	})

	t.Run("events", func(t *testing.T) {
		send := func(node, source string, id uint64, b wire.Batch) error {
			var err error
			soon(t, "the batch is done with", func() error {
				err = w.Inbox(node, nil).Append(t.Context(), source, []hub.Event{{Source: source, ID: id, Key: hub.Key{Resource: wire.Events, Namespace: "default", Name: "p"}, Body: b.Encode()}})
				return err
			})
			return err
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, _ = z.Write([]byte(`[{"id":"1"},{"id":"2"}]`)) // into memory
		_ = z.Close()
		_ = send("edge-1", "s", 1, wire.Batch{Sink: "up", URL: "http://forged", Encoding: "gzip", Events: 2, Body: packed.Bytes()})
		_ = send("edge-1", "s", 2, wire.Batch{Sink: "up", Events: 1, Body: []byte(`{"id":"3"}`)})
		_ = send("edge-2", "x", 1, wire.Batch{Sink: "up", Events: 1, Body: []byte(`{"id":"forged"}`)})
		_ = send("edge-1", "s", 3, wire.Batch{Sink: "none", Events: 1, Body: []byte(`{"id":"none"}`)})
		_ = send("edge-1", "s", 4, wire.Batch{Sink: "up", Encoding: "gzip", Events: 1, Body: []byte("no gzip")})
		packed.Reset()
		z = gzip.NewWriter(&packed)
		for range wire.MaxInflated>>20 + 1 {
			_, _ = z.Write(make([]byte, 1<<20)) // into memory
		}
		_ = z.Close()
		_ = send("edge-1", "s", 5, wire.Batch{Sink: "up", Encoding: "gzip", Events: 1, Body: packed.Bytes()})
		want := "application/cloudevents-batch+json edge-1 [{\"id\":\"1\"},{\"id\":\"2\"}]\napplication/cloudevents+json edge-1 {\"id\":\"3\"}"
		if all := got.list(); all != want {
			t.Errorf("the URL got %.500q", all)
		}
		if s := w.Stats(); s.Delivered != 3 || s.Dropped != 2 || s.Expired != 2 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("policy", func(t *testing.T) {
		if _, err := admin.RbacV1().RoleBindings("default").Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "bob"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edgekit:pipelines-edit"},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "bob"}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		own := rest.CopyConfig(a.Admin)
		own.Impersonate = rest.ImpersonationConfig{UserName: "bob"}
		bob, err := dynamic.NewForConfig(own)
		if err != nil {
			t.Fatal(err)
		}
		his := bob.Resource(v1alpha1.GroupVersion().WithResource(wire.Pipelines)).Namespace("default")
		n := 0
		soon(t, "who may not read secrets names none", func() error {
			n++
			if err := w.create(t, his, fmt.Sprintf("bob-%d", n), specOf(edge1, up)); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "you may not get secrets") {
				return fmt.Errorf("created: %w", err)
			}
			return nil
		})
		if err := w.create(t, his, "bob", specOf(edge1, map[string]any{"name": "up", "cloud": map[string]any{"url": url.URL}})); err != nil {
			t.Errorf("a Pipeline without secrets: %v", err)
		}
	})

	if err := w.admin.Delete(t.Context(), "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	soon(t, "it is gone from the node", func() error {
		o, err := one.Load(t.Context(), key, "")
		if err != nil || !o.Deleted {
			return fmt.Errorf("%+v, %w", o, err)
		}
		return nil
	})
}
