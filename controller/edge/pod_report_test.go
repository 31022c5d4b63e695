package edge_test

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

func body(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestPodStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		have := pod("web", "n")
		have.Status = corev1.PodStatus{
			Phase: corev1.PodPending, Message: "old", QOSClass: corev1.PodQOSBurstable, PodIPs: []corev1.PodIP{{IP: "10.0.0.1"}},
			Conditions: []corev1.PodCondition{
				{Type: "lb.example/attached", Status: corev1.ConditionTrue},
				{Type: corev1.PodResizePending, Status: corev1.ConditionTrue},
				{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			},
		}
		client := controllertest.NewClientset(have)
		c := start(t, client)
		report := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web", UID: have.UID},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			},
		}
		write := c.Writers()["pods/status"]
		key := hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}
		for range 2 { // the second time changes nothing
			if err := write(t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
				t.Fatal(err)
			}
			got, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s := got.Status
			types := map[corev1.PodConditionType]bool{}
			for _, cond := range s.Conditions {
				types[cond.Type] = true
			}
			if s.Phase != corev1.PodRunning || s.Message != "" || s.QOSClass != corev1.PodQOSBurstable || len(s.PodIPs) != 1 || s.PodIPs[0].IP != "10.0.0.2" {
				t.Errorf("status %+v", s)
			}
			if len(types) != 3 || !types["lb.example/attached"] || !types[corev1.PodScheduled] || !types[corev1.PodReady] {
				t.Errorf("conditions %v", types)
			}
		}
		if err := write(t.Context(), "m", hub.Object{Key: key, Body: body(t, report)}); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("status by another node: %v", err)
		}
		report.UID, report.Status.Phase = "uid-of-an-earlier-pod", corev1.PodFailed
		if err := write(t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
			t.Errorf("status of a pod that is gone: %v", err)
		}
		got, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || got.Status.Phase != corev1.PodRunning {
			t.Errorf("status of an earlier pod was written to the new one: %v, %v", got, err)
		}
	})
}

func TestPodEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(pod("web", "n"))
		c := start(t, client)
		end := func(node, uid string) error {
			return c.Writers()["pods"](t.Context(), node, hub.Object{
				Key: podKey, Deleted: true, Body: []byte(`{"gracePeriodSeconds":0,"preconditions":{"uid":"` + uid + `"}}`),
			})
		}
		if err := end("m", "uid-web"); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("end by another node: %v", err)
		}
		for _, uid := range []string{"uid-of-an-earlier-pod", "uid-web", "uid-web"} {
			if err := end("n", uid); err != nil {
				t.Errorf("end of %s: %v", uid, err)
			}
			synctest.Wait()
			_, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
			if gone := apierrors.IsNotFound(err); gone != (uid == "uid-web") {
				t.Errorf("after the end of %s the pod is gone: %t", uid, gone)
			}
		}
	})
}

func TestEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		c := start(t, client)
		for count := range int32(3) {
			event := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "e"}, Reason: "Pulled", Count: count + 1}
			err := c.Writers()["events"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "events", Namespace: "a", Name: "e"}, Body: body(t, event)})
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := client.CoreV1().Events("a").Get(t.Context(), "e", metav1.GetOptions{})
		if err != nil || got.Count != 3 || got.Source.Host != "n" || got.ReportingInstance != "n" {
			t.Errorf("event %+v, %v", got, err)
		}
	})
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(pod("web", "n"), secret("pull", "x"),
			&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "robot", UID: "account", ResourceVersion: "1"}})
		refusals := 3
		client.PrependReactor("create", "serviceaccounts", func(a clienttesting.Action) (bool, runtime.Object, error) {
			if refusals--; refusals >= 0 {
				return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "serviceaccounts"}, "default", errors.New("no relationship"))
			}
			return true, &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: "t"}}, nil
		})
		c := start(t, client)
		var mux hub.Mux
		c.Handle(&mux)
		call := func(key hub.Key, body []byte) (hub.Message, error) {
			return mux.ServeCall(t.Context(), hub.Request{Node: "n", Message: hub.Message{Operation: hub.Query, Key: key, Body: body}})
		}
		token := hub.Key{Resource: "serviceaccounts/token", Namespace: "a", Name: "default"}
		m, err := call(token, []byte(`{"spec":{"boundObjectRef":{"kind":"Pod","name":"web","uid":"uid-web"}}}`))
		var got authenticationv1.TokenRequest
		if err != nil || json.Unmarshal(m.Body, &got) != nil || got.Status.Token != "t" {
			t.Errorf("token %s, %v", m.Body, err)
		}
		for _, bad := range []string{`{}`, `{"spec":{"boundObjectRef":{"kind":"Secret","name":"x","uid":"y"}}}`, `x`} {
			if _, err := call(token, []byte(bad)); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
				t.Errorf("token request %s: %v", bad, err)
			}
		}
		refusals = 1
		_, err = call(token, []byte(`{"spec":{"boundObjectRef":{"kind":"Pod","name":"other","uid":"z"}}}`))
		if !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("token for an unknown pod: %v", err)
		}
		var robot corev1.ServiceAccount
		if m, err := call(hub.Key{Resource: "serviceaccounts", Namespace: "a", Name: "robot"}, nil); err != nil || json.Unmarshal(m.Body, &robot) != nil || robot.UID != "account" {
			t.Errorf("service account: %s, %v", m.Body, err)
		}
		if m, err := call(secretKey, nil); err != nil || m.Version == "" || len(m.Body) == 0 {
			t.Errorf("secret: %+v, %v", m, err)
		}
		if _, err := call(hub.Key{Resource: "secrets", Namespace: "a", Name: "none"}, nil); !errors.Is(err, &hub.Error{Code: hub.CodeNotFound}) {
			t.Errorf("secret that does not exist: %v", err)
		}
	})
}

// FuzzWriters gives the writers what a broken or hostile edge may send: they must return,
// and with a final error for invalid JSON.
func FuzzWriters(f *testing.F) {
	f.Add("nodes", "", "n", []byte(`{"metadata":{"name":"n"},"status":{"conditions":[{"type":"Ready"}]}}`), false)
	f.Add("pods/status", "a", "web", []byte(`{"metadata":{"namespace":"a","name":"web","uid":"uid-web"},"status":{"podIPs":[{"ip":"x"}]}}`), false)
	f.Add("pods", "a", "web", []byte(`{"preconditions":{"uid":"uid-web"}}`), true)
	f.Add("events", "a", "e", []byte(`{"metadata":{"namespace":"a","name":"e"}}`), false)
	f.Add("events", "a", "e", []byte("\x00\xff"), false)
	f.Add("pods/status", "a", "web", []byte("x"), true)
	f.Fuzz(func(t *testing.T, resource, namespace, name string, raw []byte, deleted bool) {
		client := controllertest.NewClientset(pod("web", "n"))
		c := start(t, client)
		write := c.Writers()[resource]
		if write == nil {
			return
		}
		err := write(t.Context(), "n", hub.Object{Key: hub.Key{Resource: resource, Namespace: namespace, Name: name}, Body: raw, Deleted: deleted})
		bodiless := deleted && resource == "pods/status" // the node has no such pod
		if !json.Valid(raw) && !bodiless && !nodesync.Final(err) {
			t.Errorf("garbage gave %v", err)
		}
	})
}

// TestMirror shows a static pod in the API server, and nothing else.
func TestMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "node-uid", Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
		client := controllertest.NewClientset(node)
		c := start(t, client)
		write := c.Writers()["pods"]
		shown := pod("web-n", "n")
		shown.UID, shown.ResourceVersion = "static-uid", ""
		key := hub.Key{Resource: "pods", Namespace: "a", Name: "web-n"}
		if err := write(t.Context(), "n", hub.Object{Key: key, Body: body(t, shown)}); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("an ordinary pod: %v", err)
		}
		shown.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "static-uid"}
		if err := write(t.Context(), "other", hub.Object{Key: key, Body: body(t, shown)}); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("on another node: %v", err)
		}
		for range 2 { // the second time changes nothing
			if err := write(t.Context(), "n", hub.Object{Key: key, Body: body(t, shown)}); err != nil {
				t.Fatal(err)
			}
		}
		got, err := client.CoreV1().Pods("a").Get(t.Context(), "web-n", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if o := got.OwnerReferences; len(o) != 1 || o[0].UID != "node-uid" || o[0].Kind != "Node" || got.UID == "static-uid" {
			t.Errorf("created %+v", got.ObjectMeta)
		}
	})
}

// TestBound lists the uids of a node's pods to that node alone.
func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, controllertest.NewClientset(pod("web", "n"), pod("else", "m")))
		mux := &hub.Mux{}
		c.Handle(mux)
		ask := func(node string) (hub.Message, error) {
			return mux.ServeCall(t.Context(), hub.Request{Node: node, Message: hub.Message{
				Operation: hub.Query, Key: hub.Key{Resource: "nodes/pods", Name: "n"}, Body: []byte("{}"),
			}})
		}
		if got, err := ask("n"); err != nil || string(got.Body) != `["uid-web"]` {
			t.Errorf("%s, %v", got.Body, err)
		}
		if _, err := ask("m"); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("another node: %v", err)
		}
	})
}
