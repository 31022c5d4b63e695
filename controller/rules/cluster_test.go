package rules_test

import (
	"encoding/json"
	"strconv"
	"sync"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/controllertest"
)

// The tokens of the fake API server: alice may use the rules, bob may nothing.
const (
	alice = "alice.a.a"
	bob   = "bob.b.b"
)

// cluster is a fake API server with the resources of rules.
type cluster struct {
	kube *fake.Clientset
	dyn  *dynamicfake.FakeDynamicClient

	mu      sync.Mutex
	version int
	writes  int // of status
	asked   []authorizationv1.ResourceAttributes
	clash   int // so many status writes are refused as conflicts
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c := &cluster{version: 100}
	c.kube = controllertest.NewClientset(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "extension-apiserver-authentication"},
		Data:       map[string]string{"client-ca-file": ""},
	})
	c.dyn = dynamicfake.NewSimpleDynamicClient(scheme)
	c.kube.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		switch review.Spec.Token {
		case alice:
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "alice"}}
		case bob:
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "bob"}}
		}
		return true, review, nil
	})
	c.kube.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked = append(c.asked, *review.Spec.ResourceAttributes)
		review.Status.Allowed = review.Spec.User == "alice"
		return true, review, nil
	})
	c.dyn.PrependReactor("create", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		u := a.(clienttesting.CreateAction).GetObject().(*unstructured.Unstructured)
		if u.GetName() == "" {
			u.SetName(u.GetGenerateName() + c.next())
		}
		u.SetUID(types.UID("uid-" + u.GetName()))
		u.SetGeneration(1)
		u.SetResourceVersion(c.next())
		return false, nil, nil
	})
	c.dyn.PrependReactor("patch", "rules", c.applyStatus)
	return c
}

func (c *cluster) next() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.version++
	return strconv.Itoa(c.version)
}

// applyStatus is server-side apply of a status by one manager.
func (c *cluster) applyStatus(a clienttesting.Action) (bool, runtime.Object, error) {
	patch := a.(clienttesting.PatchAction)
	var body map[string]any
	if err := json.Unmarshal(patch.GetPatch(), &body); err != nil {
		return true, nil, err
	}
	obj, err := c.dyn.Tracker().Get(a.GetResource(), a.GetNamespace(), patch.GetName())
	if err != nil {
		return true, nil, err
	}
	u := obj.(*unstructured.Unstructured).DeepCopy()
	c.mu.Lock()
	clash := c.clash > 0
	if clash {
		c.clash--
	}
	c.writes++
	c.mu.Unlock()
	if version, _, _ := unstructured.NestedString(body, "metadata", "resourceVersion"); clash || version != u.GetResourceVersion() {
		return true, nil, apierrors.NewConflict(a.GetResource().GroupResource(), patch.GetName(), nil)
	}
	u.Object["status"] = body["status"]
	u.SetResourceVersion(c.next())
	return true, u, c.dyn.Tracker().Update(a.GetResource(), u, a.GetNamespace())
}

// put creates an object, or replaces its spec and annotations.
func (c *cluster) put(t *testing.T, resource string, obj metav1.Object) {
	t.Helper()
	raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: raw}
	u.SetAPIVersion(v1.GroupVersion().String())
	u.SetKind(map[string]string{"rules": "Rule", "ruleendpoints": "RuleEndpoint"}[resource])
	client := c.dyn.Resource(v1.GroupVersion().WithResource(resource)).Namespace(obj.GetNamespace())
	old, err := client.Get(t.Context(), obj.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		if _, err := client.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	old = old.DeepCopy()
	old.Object["spec"] = u.Object["spec"]
	old.SetAnnotations(u.GetAnnotations())
	old.SetGeneration(old.GetGeneration() + 1)
	old.SetResourceVersion(c.next())
	if _, err := client.Update(t.Context(), old, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) remove(t *testing.T, resource, name string) {
	t.Helper()
	if err := c.dyn.Resource(v1.GroupVersion().WithResource(resource)).Namespace("plant").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// rule reads a Rule.
func (c *cluster) rule(t *testing.T, name string) *v1.Rule {
	t.Helper()
	u, err := c.dyn.Resource(v1.GroupVersion().WithResource("rules")).Namespace("plant").Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var r v1.Rule
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &r); err != nil {
		t.Fatal(err)
	}
	return &r
}

func endpoint(name string, kind v1.EndpointType, properties map[string]v1.Setting) *v1.RuleEndpoint {
	return &v1.RuleEndpoint{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name},
		Spec:       v1.RuleEndpointSpec{RuleEndpointType: kind, Properties: properties},
	}
}

func newRule(name, source string, from map[string]v1.Setting, target string, to map[string]v1.Setting) *v1.Rule {
	return &v1.Rule{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: name},
		Spec:       v1.RuleSpec{Source: source, SourceResource: from, Target: target, TargetResource: to},
	}
}
