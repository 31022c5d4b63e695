package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/openapi3"

	"github.com/edgekit/edgekit/meta"
)

func (sc *scene) do(method, path, accept, contentType, body string) (int, string, string) {
	sc.t.Helper()
	req, err := http.NewRequestWithContext(sc.t.Context(), method, sc.http.URL+path, strings.NewReader(body))
	must(sc.t, err)
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := sc.http.Client().Do(req)
	must(sc.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(sc.t, err)
	return resp.StatusCode, string(b), resp.Header.Get("Content-Type")
}

// eachForm runs a test with clients that speak JSON and protobuf.
func eachForm(t *testing.T, sc *scene, f func(t *testing.T, c *kubernetes.Clientset)) {
	for _, form := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		t.Run(form, func(t *testing.T) {
			inner := *sc
			inner.t = t
			f(t, inner.client(form))
		})
	}
}

func TestGetAndList(t *testing.T) {
	sc := newScene(t, nil)
	sc.put("pods", "100", pod("a", map[string]string{"app": "web"}))
	second := sc.put("pods", "101", pod("b", nil))
	sc.put("configmaps", "7", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}, Data: map[string]string{"k": "v"}})
	eachForm(t, sc, func(t *testing.T, c *kubernetes.Clientset) {
		got, err := c.CoreV1().Pods("shop").Get(t.Context(), "b", metav1.GetOptions{})
		must(t, err)
		if got.ResourceVersion != localVersion(second) || got.UID != "uid-b" || got.Spec.Containers[0].Image != "app:1" {
			t.Errorf("got %+v", got)
		}
		list, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		must(t, err)
		if len(list.Items) != 2 || list.Items[0].Name != "a" || list.ResourceVersion != localVersion(3) {
			t.Errorf("listed %d at %s", len(list.Items), list.ResourceVersion)
		}
		for selector, want := range map[string]int{"app=web": 1, "app!=web": 1, "!app": 1, "app in (x)": 0} {
			list, err := c.CoreV1().Pods("shop").List(t.Context(), metav1.ListOptions{LabelSelector: selector})
			if err != nil || len(list.Items) != want {
				t.Errorf("labels %s: %d, %v, want %d", selector, len(list.Items), err, want)
			}
		}
		for selector, want := range map[string]int{
			"metadata.name=a": 1, "spec.nodeName=gate-7": 2, "spec.nodeName=x": 0, "status.phase!=Pending": 0, "metadata.namespace=shop,metadata.name=b": 1,
		} {
			list, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: selector})
			if err != nil || len(list.Items) != want {
				t.Errorf("fields %s: %d, %v, want %d", selector, len(list.Items), err, want)
			}
		}
		if _, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{FieldSelector: "spec.color=red"}); !apierrors.IsBadRequest(err) {
			t.Errorf("unknown field: %v", err)
		}
		if _, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{LabelSelector: "a=(b"}); !apierrors.IsBadRequest(err) {
			t.Errorf("bad selector: %v", err)
		}
		if _, err := c.CoreV1().Secrets("shop").Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
			t.Errorf("what is not here, with no cloud: %v", err)
		}
		cm, err := c.CoreV1().ConfigMaps("shop").Get(t.Context(), "c", metav1.GetOptions{})
		if err != nil || cm.Data["k"] != "v" {
			t.Errorf("config map: %+v, %v", cm, err)
		}
	})
}

// TestStatusIsTheNodesOwn shows pods and the node with what the node itself
// last reported.
func TestStatusIsTheNodesOwn(t *testing.T) {
	sc := newScene(t, nil)
	p := pod("a", nil)
	p.Status.Conditions = []corev1.PodCondition{{Type: "edge.example/gate", Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse}}
	sc.put("pods", "100", p)
	sc.put("nodes", "5", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7", Labels: map[string]string{"x": "y"}}})
	report := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "a", UID: "uid-a"}, Status: corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.0.0.3", Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}}
	at := sc.putIn(meta.Up, "pods/status", "", report)
	sc.putIn(meta.Up, "nodes", "", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1"}}})
	c := sc.client("")
	got, err := c.CoreV1().Pods("shop").Get(t.Context(), "a", metav1.GetOptions{})
	must(t, err)
	if got.Status.Phase != corev1.PodRunning || got.Status.QOSClass != corev1.PodQOSBestEffort || len(got.Status.Conditions) != 2 || got.ResourceVersion != localVersion(at) {
		t.Errorf("pod: %s %+v", got.ResourceVersion, got.Status)
	}
	node, err := c.CoreV1().Nodes().Get(t.Context(), "gate-7", metav1.GetOptions{})
	if err != nil || node.Labels["x"] != "y" || node.Status.NodeInfo.KubeletVersion != "v1" {
		t.Errorf("node: %+v, %v", node, err)
	}
	report.UID = "of the pod before"
	sc.putIn(meta.Up, "pods/status", "", report)
	if got, err = c.CoreV1().Pods("shop").Get(t.Context(), "a", metav1.GetOptions{}); err != nil || got.Status.Phase != corev1.PodPending {
		t.Errorf("with another pod's status: %+v, %v", got, err)
	}
}

func TestPages(t *testing.T) {
	sc := newScene(t, nil)
	for i := range 7 {
		sc.put("pods", "1", pod(fmt.Sprintf("p%d", i), nil))
	}
	c := sc.client("")
	var names []string
	o := metav1.ListOptions{Limit: 3}
	first := ""
	for {
		list, err := c.CoreV1().Pods("shop").List(t.Context(), o)
		must(t, err)
		for _, p := range list.Items {
			names = append(names, p.Name)
		}
		if first == "" {
			first = list.ResourceVersion
			if list.RemainingItemCount == nil || *list.RemainingItemCount != 4 {
				t.Errorf("remaining: %v", list.RemainingItemCount)
			}
			sc.put("pods", "1", pod("p5", map[string]string{"changed": "meanwhile"}))
		}
		if list.ResourceVersion != first {
			t.Errorf("a later page is at %s, the first at %s", list.ResourceVersion, first)
		}
		if o.Continue = list.Continue; o.Continue == "" {
			break
		}
	}
	if got := strings.Join(names, " "); got != "p0 p1 p2 p3 p4 p5 p6" {
		t.Errorf("pages gave %s", got)
	}
	for _, bad := range []string{"x", "e30", strings.Repeat("a", maxContinue+1)} {
		if _, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{Continue: bad}); !apierrors.IsBadRequest(err) {
			t.Errorf("continue %.10q: %v", bad, err)
		}
	}
	if _, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{ResourceVersion: localVersion(3), ResourceVersionMatch: metav1.ResourceVersionMatchExact}); !apierrors.IsResourceExpired(err) {
		t.Errorf("an exact version of the past: %v", err)
	}
	if _, err := c.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{ResourceVersion: localVersion(999)}); !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a version of the future: %v", err)
	}
}

const tableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"

// TestTable asks for tables as kubectl does.
func TestTable(t *testing.T) {
	sc := newScene(t, nil)
	p := pod("a", nil)
	p.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.0.0.3", ContainerStatuses: []corev1.ContainerStatus{
		{Name: "app", Ready: true, RestartCount: 2, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{FinishedAt: metav1.NewTime(time.Now().Add(-65 * time.Second))}}},
	}}
	sc.put("pods", "100", p)
	code, body, media := sc.get("/api/v1/namespaces/shop/pods?limit=500", tableAccept)
	var table metav1.Table
	if err := json.Unmarshal([]byte(body), &table); code != http.StatusOK || err != nil || !strings.HasPrefix(media, "application/json") {
		t.Fatalf("%d %s %v\n%s", code, media, err, body)
	}
	if table.Kind != "Table" || len(table.Rows) != 1 || len(table.ColumnDefinitions) != 9 || len(table.Rows[0].Cells) != 9 {
		t.Fatalf("%s", body)
	}
	if got := fmt.Sprint(table.Rows[0].Cells...); got != "a 1/1 Running 2 (65s ago) 5m 10.0.0.3 gate-7 <none> <none>" &&
		!strings.HasPrefix(fmt.Sprint(table.Rows[0].Cells), "[a 1/1 Running 2 (65s ago) 5m") {
		t.Errorf("row: %v", table.Rows[0].Cells)
	}
	var meta metav1.PartialObjectMetadata
	if err := json.Unmarshal(table.Rows[0].Object.Raw, &meta); err != nil || meta.Name != "a" || meta.Kind != "PartialObjectMetadata" {
		t.Errorf("row's object: %s %v", table.Rows[0].Object.Raw, err)
	}
}

func TestMetadataOnly(t *testing.T) {
	sc := newScene(t, nil)
	sc.put("pods", "100", pod("a", map[string]string{"app": "web"}))
	_, body, _ := sc.get("/api/v1/pods", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
	if !strings.Contains(body, `"kind":"PartialObjectMetadataList"`) || !strings.Contains(body, `"app":"web"`) || strings.Contains(body, "image") {
		t.Errorf("%s", body)
	}
}

func TestNotAcceptable(t *testing.T) {
	sc := newScene(t, nil)
	if code, body, _ := sc.get("/api/v1/pods", "text/html"); code != http.StatusNotAcceptable {
		t.Errorf("%d %s", code, body)
	}
	if code, body, _ := sc.get("/api/v1/pods", "application/yaml"); code != http.StatusOK || !strings.Contains(body, "kind: PodList") {
		t.Errorf("%d %s", code, body)
	}
}

// TestCustomResource: objects of kinds that the scheme does not know are served as they
// are.
func TestCustomResource(t *testing.T) {
	sc := newScene(t, func(c *Config) {
		c.Custom = []Resource{{Group: "devices.kubeedge.io", Version: "v1beta1", Name: "devices", Singular: "device", Kind: "Device", Namespaced: true}}
	})
	sc.apply(meta.Op{Key: meta.Down + "devices/shop/d", Value: meta.EncodeObject(meta.Object{Body: []byte(`{"metadata":{"namespace":"shop","name":"d"},"spec":{"odd":1.5}}`)})},
		meta.Op{Key: meta.Down + "devices/shop/broken", Value: []byte("?")})
	_, body, _ := sc.get("/apis/devices.kubeedge.io/v1beta1/devices", "")
	var got map[string]any
	must(t, json.Unmarshal([]byte(body), &got))
	items, _ := got["items"].([]any)
	if len(items) != 1 || got["kind"] != "DeviceList" || !strings.Contains(body, `"odd":1.5`) || !strings.Contains(body, `"kind":"Device"`) {
		t.Errorf("%s", body)
	}
	if code, body, _ := sc.get("/apis/devices.kubeedge.io/v1beta1/devices", runtime.ContentTypeProtobuf); code != http.StatusNotAcceptable {
		t.Errorf("protobuf of a custom resource: %d %s", code, body)
	}
	if _, body, _ = sc.get("/apis/devices.kubeedge.io/v1beta1/devices", tableAccept); !strings.Contains(body, `"cells":["d","`) {
		t.Errorf("%s", body)
	}
}

func TestDiscovery(t *testing.T) {
	sc := newScene(t, nil)
	c := sc.client("").Discovery()
	groups, lists, err := c.ServerGroupsAndResources()
	must(t, err)
	var names bytes.Buffer
	for _, l := range lists {
		for _, r := range l.APIResources {
			fmt.Fprintf(&names, "%s/%s ", l.GroupVersion, r.Name)
		}
	}
	for _, want := range []string{"v1/pods ", "v1/pods/log ", "discovery.k8s.io/v1/endpointslices ", "rbac.authorization.k8s.io/v1/roles ", "authorization.k8s.io/v1/selfsubjectaccessreviews "} {
		if !strings.Contains(names.String(), want) {
			t.Errorf("%q is not among %s of %d groups", want, names.String(), len(groups))
		}
	}
	version, err := c.ServerVersion()
	if err != nil || version.Major != "1" || version.Minor != "37" {
		t.Errorf("version %+v, %v", version, err)
	}
	for path, want := range map[string]int{
		"/api": 200, "/apis": 200, "/api/v1": 200, "/apis/discovery.k8s.io": 200, "/apis/discovery.k8s.io/v1": 200,
		"/healthz": 200, "/readyz": 200, "/livez": 200, "/openapi/v3": 200, "/openapi/v3/apis/none/v1": 404, "/openapi/v2": 404, "/": 404, "/api/v1/pods/x/y/z": 400, "/api/v2/..": 400,
	} {
		if code, body, _ := sc.get(path, ""); code != want {
			t.Errorf("%s: %d, want %d: %s", path, code, want, body)
		}
	}
}

// TestOpenAPI asks as kubectl does whether a kind is validated by the server.
func TestOpenAPI(t *testing.T) {
	sc := newScene(t, func(c *Config) {
		c.Custom = []Resource{{Group: "devices.kubeedge.io", Version: "v1beta1", Name: "devices", Kind: "Device", Namespaced: true}}
	})
	c := sc.client("")
	root := openapi3.NewRoot(c.Discovery().OpenAPIV3())
	for _, kind := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "ConfigMap"}, {Version: "v1", Kind: "Namespace"},
		{Group: "rbac.authorization.k8s.io", Version: "v1", Kind: "Role"}, {Group: "devices.kubeedge.io", Version: "v1beta1", Kind: "Device"},
	} {
		doc, err := root.GVSpec(kind.GroupVersion())
		must(t, err)
		found := 0
		for _, path := range doc.Paths.Paths {
			var has map[string]string
			must(t, path.Patch.Extensions.GetObject("x-kubernetes-group-version-kind", &has))
			if has["kind"] == kind.Kind && has["group"] == kind.Group && path.Patch.Parameters[0].Name == "fieldValidation" {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%s: %d paths say that it is validated", kind, found)
		}
	}
}

func TestNamespaces(t *testing.T) {
	sc := newScene(t, nil)
	at := sc.put("namespaces", "1", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}})
	eachForm(t, sc, func(t *testing.T, c *kubernetes.Clientset) {
		one, err := c.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil || one.ResourceVersion != localVersion(at) {
			t.Errorf("%+v, %v", one, err)
		}
		all, err := c.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		if err != nil || len(all.Items) != 1 {
			t.Errorf("%+v, %v", all, err)
		}
		w, err := c.CoreV1().Namespaces().Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=shop"})
		must(t, err)
		defer w.Stop()
		want(t, w, fmt.Sprint("ADDED shop ", at))
	})
	if _, body, _ := sc.get("/api/v1/namespaces", tableAccept); !strings.Contains(body, `"cells":["shop","Active",`) {
		t.Errorf("as a table: %s", body)
	}
}
