package apiserver

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"))
}

// scene is a node's store with its API over plain HTTP, as its administrator.
type scene struct {
	*Server
	t        *testing.T
	store    meta.Store
	cloud    *fakeCloud
	http     *httptest.Server
	requests *atomic.Int64 // that the servers of serveHTTP got
}

// fakeCloud answers queries with a function and keeps events in the store.
type fakeCloud struct {
	store  meta.Store
	answer func(meta.Object) (meta.Object, error) // nil: out of reach
}

func (c *fakeCloud) Query(_ context.Context, q meta.Object) (meta.Object, error) {
	if c.answer == nil {
		return meta.Object{}, manager.ErrOffline
	}
	return c.answer(q)
}

func (c *fakeCloud) Append(ctx context.Context, key meta.Key, body []byte) error {
	_, err := c.store.Apply(ctx, meta.Op{Key: meta.Events + key.Path(), Value: meta.EncodeObject(meta.Object{Key: key, Body: body})})
	return err
}

// newScene serves a fresh store; change may alter the configuration.
func newScene(t *testing.T, change func(*Config)) *scene {
	t.Helper()
	store := memstore.New()
	t.Cleanup(func() { store.Close() })
	sc := &scene{t: t, store: store, cloud: &fakeCloud{store: store}, requests: new(atomic.Int64)}
	cfg := Config{Store: store, Node: "gate-7", Cloud: sc.cloud}
	if change != nil {
		change(&cfg)
	}
	var err error
	if sc.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	sc.http = sc.serveHTTP(sc.AdminHandler())
	return sc
}

// serveHTTP serves h for the test's time; requests end with it.
func (sc *scene) serveHTTP(h http.Handler) *httptest.Server {
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sc.requests.Add(1)
		rctx, stop := context.WithCancel(r.Context())
		defer stop()
		defer context.AfterFunc(ctx, stop)()
		h.ServeHTTP(w, r.WithContext(rctx))
	}))
	s.Start()
	sc.t.Cleanup(func() {
		cancel()
		s.Close()
	})
	return s
}

// client is client-go at the scene, in JSON or protobuf.
func (sc *scene) client(contentType string) *kubernetes.Clientset {
	sc.t.Helper()
	transport := &http.Transport{}
	sc.t.Cleanup(transport.CloseIdleConnections)
	cfg := &rest.Config{Host: sc.http.URL, QPS: -1, Transport: transport}
	if contentType != "" {
		cfg.ContentType = contentType
		cfg.AcceptContentTypes = contentType + ",application/json"
	}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		sc.t.Fatal(err)
	}
	return c
}

// put stores an object in the Down area as the link would.
func (sc *scene) put(resource, version string, obj metav1.Object) uint64 {
	sc.t.Helper()
	return sc.putIn(meta.Down, resource, version, obj)
}

func (sc *scene) putIn(area, resource, version string, obj metav1.Object) uint64 {
	sc.t.Helper()
	body, err := json.Marshal(obj)
	if err != nil {
		sc.t.Fatal(err)
	}
	key := meta.Key{Resource: resource, Namespace: obj.GetNamespace(), Name: obj.GetName()}
	return sc.apply(meta.Op{Key: area + key.Path(), Value: meta.EncodeObject(meta.Object{Version: version, Body: body})})
}

func (sc *scene) drop(resource, namespace, name string) uint64 {
	sc.t.Helper()
	return sc.apply(meta.Op{Key: meta.Down + meta.Key{Resource: resource, Namespace: namespace, Name: name}.Path(), Delete: true})
}

func (sc *scene) apply(ops ...meta.Op) uint64 {
	sc.t.Helper()
	revision, err := sc.store.Apply(sc.t.Context(), ops...)
	if err != nil {
		sc.t.Fatal(err)
	}
	return revision
}

// get reads a path and gives the status, the body and the content type.
func (sc *scene) get(path, accept string) (int, string, string) {
	return sc.do(http.MethodGet, path, accept, "", "")
}

func pod(name string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("uid-" + name), Labels: labels,
			CreationTimestamp: metav1.NewTime(time.Now().Add(-5 * time.Minute).Truncate(time.Second)),
		},
		Spec: corev1.PodSpec{
			NodeName: "gate-7", ServiceAccountName: "clerk", RestartPolicy: corev1.RestartPolicyAlways,
			Containers: []corev1.Container{{Name: "app", Image: "app:1"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, QOSClass: corev1.PodQOSBestEffort},
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
