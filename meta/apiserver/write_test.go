package apiserver

import (
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/memstore"
)

func pkixName(cn string) pkix.Name { return pkix.Name{CommonName: cn} }

// newFuzzServer is a server over an empty store.
func newFuzzServer(f *testing.F) *Server {
	store := memstore.New()
	f.Cleanup(func() { store.Close() })
	s, err := New(Config{Store: store, Node: "gate-7"})
	if err != nil {
		f.Fatal(err)
	}
	return s
}

// connect has the scene's cloud answer requests with a function.
func (sc *scene) connect(answer func(wire.Request) wire.Response) {
	sc.cfg.Connected = func() (bool, time.Time) { return true, time.Now().Add(-time.Hour) }
	sc.cloud.answer = func(q meta.Object) (meta.Object, error) {
		req, err := wire.DecodeRequest(q.Body)
		if err != nil {
			return meta.Object{}, err
		}
		body, err := answer(req).Encode()
		return meta.Object{Body: body}, err
	}
}

func object200(v any) wire.Response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return wire.Response{Code: http.StatusOK, ContentType: "application/json", Body: body}
}

// TestWriteOffline: offline a write is refused at once, with an error that clients can
// distinguish from a refusal for good.
func TestWriteOffline(t *testing.T) {
	sc := newScene(t, nil)
	sc.put("pods", "1", pod("a", nil))
	c := sc.client("")
	for name, err := range map[string]error{
		"delete": c.CoreV1().Pods("shop").Delete(t.Context(), "a", metav1.DeleteOptions{}),
		"create": func() error {
			_, err := c.CoreV1().Pods("shop").Create(t.Context(), pod("b", nil), metav1.CreateOptions{})
			return err
		}(),
		"evict": c.CoreV1().Pods("shop").EvictV1(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "shop"}}),
		"list": func() error {
			_, err := c.AppsV1().Deployments("shop").List(t.Context(), metav1.ListOptions{})
			return err
		}(),
	} {
		wait, ok := apierrors.SuggestsClientDelay(err)
		if !apierrors.IsServiceUnavailable(err) || !ok || wait != retrySeconds {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := sc.requests.Load(); n != 4 {
		t.Errorf("%d requests for four refusals: client-go repeats them", n)
	}
	if _, err := c.AppsV1().Deployments("shop").Watch(t.Context(), metav1.ListOptions{}); !apierrors.IsMethodNotSupported(err) {
		t.Errorf("a watch of what is not here: %v", err)
	}
}

// TestVersions translates resourceVersions in both directions.
func TestVersions(t *testing.T) {
	sc := newScene(t, nil)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}, Data: map[string]string{"k": "1"}}
	sc.put("configmaps", "4711", cm)
	var seen []string
	sc.connect(func(r wire.Request) wire.Response {
		var got corev1.ConfigMap
		if strings.Contains(r.ContentType, "protobuf") {
			obj, _, err := sc.codec.proto.Decode(r.Body, nil, &got)
			if err != nil {
				t.Errorf("body of %s: %T %v", r.Method, obj, err)
			}
		} else if err := json.Unmarshal(r.Body, &got); err != nil {
			t.Errorf("body of %s: %v", r.Method, err)
		}
		seen = append(seen, r.Method+" "+r.Path+" "+got.ResourceVersion)
		got.ResourceVersion = "4800"
		got.TypeMeta = metav1.TypeMeta{Kind: "ConfigMap", APIVersion: "v1"}
		return object200(got)
	})
	for _, form := range []string{"", runtime.ContentTypeProtobuf} {
		seen = nil
		c := sc.client(form).CoreV1().ConfigMaps("shop")
		got, err := c.Get(t.Context(), "c", metav1.GetOptions{})
		must(t, err)
		after, err := c.Update(t.Context(), got, metav1.UpdateOptions{})
		must(t, err)
		if after.ResourceVersion != "4800" {
			t.Errorf("the answer's version is %s", after.ResourceVersion)
		}
		_, err = c.Update(t.Context(), after, metav1.UpdateOptions{})
		must(t, err)
		want := []string{"PUT /api/v1/namespaces/shop/configmaps/c 4711", "PUT /api/v1/namespaces/shop/configmaps/c 4800"}
		if fmt.Sprint(seen) != fmt.Sprint(want) {
			t.Errorf("%s: the cloud saw %v, want %v", form, seen, want)
		}
		got.ResourceVersion = localVersion(999)
		if _, err := c.Update(t.Context(), got, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("an old version: %v", err)
		}
	}
	// Numbers stay as they are written, although resourceVersions in the same object are
	// translated.
	patched := ""
	sc.connect(func(r wire.Request) wire.Response {
		patched = string(r.Body)
		return object200(cm)
	})
	patch := fmt.Sprintf(`{"data":{"big":12345678901234567890},"metadata":{"resourceVersion":%q}}`, localVersion(1))
	if code, body, _ := sc.do(http.MethodPatch, "/api/v1/namespaces/shop/configmaps/c", "", string(types.MergePatchType), patch); code != http.StatusOK ||
		patched != strings.Replace(patch, localVersion(1), "4711", 1) {
		t.Errorf("%d %s: %s", code, body, patched)
	}
}

// TestForwardRead: a read of an object that is not here is sent to the cloud, with the
// reader's token.
func TestForwardRead(t *testing.T) {
	g := newGuarded(t)
	token := g.token(t, nil)
	var seen wire.Request
	g.connect(func(r wire.Request) wire.Response {
		seen = r
		return wire.Response{Code: 404, ContentType: "application/json", Body: []byte(`{"kind":"Status","code":404}`)}
	})
	code, body := g.as(token, "/apis/apps/v1/namespaces/shop/deployments?limit=3")
	if code != 404 || body != `{"kind":"Status","code":404}` || seen.Token != token || seen.Path != "/apis/apps/v1/namespaces/shop/deployments" || seen.Query != "limit=3" || seen.Method != http.MethodGet {
		t.Errorf("%d %s %+v", code, body, seen)
	}
}

func TestBodyLimit(t *testing.T) {
	sc := newScene(t, func(c *Config) { c.MaxBody = 1000 })
	sc.connect(func(wire.Request) wire.Response { t.Error("it was sent"); return wire.Response{Code: 200} })
	if code, body, _ := sc.do(http.MethodPost, "/api/v1/namespaces/a/pods", "", "application/json", strings.Repeat("x", 1001)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", code, body)
	}
}

// TestEvents: events of both API groups are accepted without a cloud, and kept until they
// are sent.
func TestEvents(t *testing.T) {
	sc := newScene(t, nil)
	c := sc.client("")
	core, err := c.CoreV1().Events("shop").Create(t.Context(), &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e1"}, InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "a"}, Reason: "Started", Count: 1,
	}, metav1.CreateOptions{})
	if err != nil || core.ResourceVersion == "" {
		t.Fatalf("%+v, %v", core, err)
	}
	core, err = c.CoreV1().Events("shop").Patch(t.Context(), "e1", types.StrategicMergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{})
	if err != nil || core.Count != 2 || core.Reason != "Started" {
		t.Errorf("%+v, %v", core, err)
	}
	modern, err := c.EventsV1().Events("shop").Create(t.Context(), &eventsv1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e2"}, Regarding: corev1.ObjectReference{Kind: "Node", Name: "gate-7"}, Note: "hello", EventTime: metav1.NowMicro(),
	}, metav1.CreateOptions{})
	if err != nil || modern.Note != "hello" {
		t.Errorf("%+v, %v", modern, err)
	}
	modern, err = c.EventsV1().Events("shop").Patch(t.Context(), "e2", types.StrategicMergePatchType, []byte(`{"series":{"count":3,"lastObservedTime":null}}`), metav1.PatchOptions{})
	if err != nil || modern.Series == nil || modern.Series.Count != 3 || modern.Note != "hello" {
		t.Errorf("%+v, %v", modern, err)
	}
	list, err := c.CoreV1().Events("").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.kind=Node"})
	if err != nil || len(list.Items) != 1 || list.Items[0].Message != "hello" {
		t.Errorf("%+v, %v", list, err)
	}
	sc.apply(meta.Op{Key: meta.Events + "events/shop/e1", Delete: true})
	if _, err := c.CoreV1().Events("shop").Patch(t.Context(), "e1", types.StrategicMergePatchType, []byte(`{"count":3}`), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an event that was sent: %v", err)
	}
	big := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "e3"}, Message: strings.Repeat("x", maxEvent)}
	if _, err := c.CoreV1().Events("shop").Create(t.Context(), big, metav1.CreateOptions{}); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("a large event: %v", err)
	}
}

// TestStreams: requests for a pod's log and terminal go to the kubelet's API.
func TestStreams(t *testing.T) {
	sc := newScene(t, func(c *Config) {
		c.Kubelet = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RequestURI()) })
	})
	p := pod("a", nil)
	sc.put("pods", "1", p)
	p = pod("two", nil)
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "side"})
	sc.put("pods", "1", p)
	for path, want := range map[string]string{
		"/api/v1/namespaces/shop/pods/a/log?follow=true&tailLines=3":                                  "/containerLogs/shop/a/app?follow=true&tailLines=3",
		"/api/v1/namespaces/shop/pods/two/log?container=side":                                         "/containerLogs/shop/two/side",
		"/api/v1/namespaces/shop/pods/a/exec?command=ls&command=-l&stdout=true&stderr=false&tty=true": "/exec/shop/a/app?command=ls&command=-l&output=1&tty=1",
		"/api/v1/namespaces/shop/pods/a/portforward?ports=80,81":                                      "/portForward/shop/a?port=80&port=81",
		"/api/v1/namespaces/shop/pods/two/log":                                                        "choose one of: [app side]",
		"/api/v1/namespaces/shop/pods/two/log?container=x":                                            "container x is not valid",
		"/api/v1/namespaces/shop/pods/none/log":                                                       `"code":404`,
	} {
		if _, body, _ := sc.get(path, ""); !strings.Contains(body, want) {
			t.Errorf("%s: %s, want %s", path, body, want)
		}
	}
}

func TestReviews(t *testing.T) {
	sc := newScene(t, nil)
	_, body, _ := sc.do(http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", "", "application/json", `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`)
	if !strings.Contains(body, `"username":"system:node:gate-7"`) {
		t.Errorf("%s", body)
	}
	_, body, _ = sc.do(http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "", "application/json",
		`{"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`)
	if !strings.Contains(body, `"allowed":true`) {
		t.Errorf("%s", body)
	}
}

// FuzzRequest reads with arbitrary paths, selectors and continue tokens.
func FuzzRequest(f *testing.F) {
	f.Add("/api/v1/namespaces/shop/pods", "labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=3&continue=e30", "application/json;as=Table;v=v1;g=meta.k8s.io")
	f.Add("/apis/discovery.k8s.io/v1/endpointslices/x", "resourceVersion=0", "application/vnd.kubernetes.protobuf,*/*")
	s := newFuzzServer(f)
	f.Fuzz(func(t *testing.T, path, query, accept string) {
		if strings.Contains(query, "atch") || strings.Contains(path, "watch") {
			return // lasts
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL = &url.URL{Path: path, RawQuery: query}
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		s.AdminHandler().ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError {
			t.Errorf("%q ?%q: %s", path, query, w.Body)
		}
	})
}

func FuzzToCloud(f *testing.F) {
	f.Add("application/merge-patch+json", []byte(`{"metadata":{"resourceVersion":"4000000000000000007"}}`))
	f.Add("application/json-patch+json", []byte(`[{"op":"test","path":"/metadata/resourceVersion","value":"4000000000000000007"}]`))
	f.Add("application/vnd.kubernetes.protobuf", []byte("k8s\x00resource"))
	f.Add("application/apply-patch+yaml", []byte("metadata: {resourceVersion: '4000000000000000007'}"))
	s := newFuzzServer(f)
	res := s.catalog.find("", "v1", "configmaps")
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		if len(body) > 64<<10 {
			return
		}
		_, _ = s.toCloud(t.Context(), request{resource: "configmaps", version: "v1", namespace: "a", name: "b"}, res, contentType, body)
	})
}
