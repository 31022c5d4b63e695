package install_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// TestPolicyOnARealServer: with the shipped policy a namespace has Devices only at the nodes
// that its annotation lists. Summaries and finalizers are no matter of it.
func TestPolicyOnARealServer(t *testing.T) {
	a := apiservertest.Start(t)
	if err := install.Ensure(t.Context(), install.Config{REST: a.Admin}); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(a.Admin)
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(devices.Policy(), "\n---\n") {
		obj := new(unstructured.Unstructured)
		if err := yaml.Unmarshal([]byte(doc), &obj.Object); err != nil {
			t.Fatal(err)
		}
		resource := map[string]string{"ValidatingAdmissionPolicy": "validatingadmissionpolicies", "ValidatingAdmissionPolicyBinding": "validatingadmissionpolicybindings"}[obj.GetKind()]
		gvr := schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
		if _, err := client.Resource(gvr).Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, nodes := range map[string]string{"plant": "edge-7, gate-*", "office": ""} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if nodes != "" {
			ns.Annotations = map[string]string{"edgekit.io/device-nodes": nodes}
		}
		if _, err := clientFor(t, a.Admin).CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create := func(namespace, node string) error {
		obj := new(unstructured.Unstructured)
		if err := yaml.Unmarshal([]byte(device+`protocol: {protocolName: plc}}}`), &obj.Object); err != nil {
			t.Fatal(err)
		}
		obj.SetGenerateName("pump-")
		obj.SetName("")
		if err := unstructured.SetNestedField(obj.Object, node, "spec", "nodeName"); err != nil {
			t.Fatal(err)
		}
		_, err := client.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace(namespace).Create(t.Context(), obj, metav1.CreateOptions{})
		return err
	}
	until(t, func() string { // a new policy takes effect after a moment
		if err := create("office", "edge-7"); !apierrors.IsForbidden(err) {
			return fmt.Sprint("not yet forbidden: ", err)
		}
		return ""
	})
	for _, tt := range []struct {
		namespace, node string
		allowed         bool
	}{{"plant", "edge-7", true}, {"plant", "gate-9", true}, {"plant", "", true}, {"plant", "edge-8", false}, {"plant", "edge-77", false}, {"office", "", true}, {"office", "gate-9", false}} {
		err := create(tt.namespace, tt.node)
		if (err == nil) != tt.allowed || err != nil && !strings.Contains(err.Error(), "edgekit.io/device-nodes") {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	// The annotation goes. cloudcore still writes the summary.
	ns := []byte(`{"metadata":{"annotations":{"edgekit.io/device-nodes":null}}}`)
	if _, err := clientFor(t, a.Admin).CoreV1().Namespaces().Patch(t.Context(), "plant", types.MergePatchType, ns, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	in := client.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace("plant")
	list, err := in.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		t.Fatal(err)
	}
	if _, err := in.Patch(t.Context(), list.Items[0].GetName(), types.MergePatchType, []byte(`{"status":{"state":"online"}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Errorf("summary: %v", err)
	}
}
