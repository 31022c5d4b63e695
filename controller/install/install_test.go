package install_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install"
)

// server is a fake that keeps what is applied; definitions become established
// on their second read.
func server(forbid func(kind string) bool) (*dynamicfake.FakeDynamicClient, map[string]*unstructured.Unstructured) {
	client := dynamicfake.NewSimpleDynamicClient(runtime.NewScheme())
	kept := map[string]*unstructured.Unstructured{}
	reads := map[string]int{}
	client.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		obj := &unstructured.Unstructured{}
		if err := json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), &obj.Object); err != nil {
			return true, nil, err
		}
		if forbid(obj.GetKind()) {
			return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: a.GetResource().Resource}, obj.GetName(), errors.New("no"))
		}
		kept[obj.GetKind()+" "+obj.GetNamespace()+"/"+obj.GetName()] = obj
		return true, obj, nil
	})
	client.PrependReactor("get", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		name := a.(clienttesting.GetAction).GetName()
		obj := kept["CustomResourceDefinition /"+name]
		if obj == nil {
			return true, nil, apierrors.NewNotFound(schema.GroupResource{}, name)
		}
		if reads[name]++; reads[name] > 1 {
			obj = obj.DeepCopy()
			obj.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Established", "status": "True"}}}
		}
		return true, obj, nil
	})
	return client, kept
}

func TestEnsure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, kept := server(func(string) bool { return false })
		for range 2 {
			if err := install.Ensure(t.Context(), install.Config{Client: client, Namespace: "edge"}); err != nil {
				t.Fatal(err)
			}
		}
		for _, want := range []string{
			"Namespace /edge", "CustomResourceDefinition /devices.devices.kubeedge.io",
			"CustomResourceDefinition /devicestatuses.devices.kubeedge.io", "ServiceAccount edge/cloudcore",
			"ClusterRole /edgekit:cloudcore", "RoleBinding edge/edgekit:cloudcore",
		} {
			if kept[want] == nil {
				t.Errorf("%s is missing", want)
			}
		}
		subjects, _, err := unstructured.NestedSlice(kept["ClusterRoleBinding /edgekit:cloudcore"].Object, "subjects")
		if err != nil || subjects[0].(map[string]any)["namespace"] != "edge" {
			t.Errorf("subjects %v, %v", subjects, err)
		}
	})
}

func TestEnsureWithoutRights(t *testing.T) {
	client, _ := server(func(kind string) bool { return kind == "CustomResourceDefinition" })
	if err := install.Ensure(t.Context(), install.Config{Client: client}); !apierrors.IsForbidden(err) {
		t.Errorf("definitions that cannot be made: %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		client, _ := server(func(kind string) bool { return kind == "ClusterRole" })
		if err := install.Ensure(t.Context(), install.Config{Client: client}); err != nil {
			t.Errorf("rights that cannot be given: %v", err)
		}
	})
	if err := install.Ensure(t.Context(), install.Config{}); err == nil {
		t.Error("no client was taken")
	}
}

func TestManifest(t *testing.T) {
	text, err := install.Manifest("edge")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var obj unstructured.Unstructured
		if err := yaml.UnmarshalStrict(bytes.TrimPrefix(doc, []byte("---\n")), &obj.Object); err != nil || obj.GetKind() == "" || obj.GetName() == "" {
			t.Errorf("document %.80q: %v", doc, err)
		}
	}
	if bytes.Contains(text, []byte("namespace: edgekit-system")) {
		t.Error("the default namespace is left in the manifest")
	}
	if _, err := install.Manifest("not: a\nname"); err == nil {
		t.Error("a bad namespace was taken")
	}
}

func ExampleManifest() {
	text, err := install.Manifest("")
	if err != nil {
		fmt.Println(err)
		return
	}
	first, _, _ := bytes.Cut(text, []byte("\n---\n"))
	fmt.Println(string(first))
	// Output:
	// ---
	// # Pods here must keep to the Pod Security Standard "restricted", as cloudcore's do.
	// apiVersion: v1
	// kind: Namespace
	// metadata:
	//   name: edgekit-system
	//   labels:
	//     pod-security.kubernetes.io/enforce: restricted
}
