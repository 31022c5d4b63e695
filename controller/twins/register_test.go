package twins_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/twins"
)

func endpointSlice(name, version string, annotations map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
		"metadata": map[string]any{
			"namespace": "edgekit-system", "name": name, "resourceVersion": version, "annotations": annotations,
			"labels": map[string]any{"kubernetes.io/service-name": twins.Service, "endpointslice.kubernetes.io/managed-by": "cloudcore.edgekit.io"},
		},
	}}
}

// TestAddressesExpire: the address of a cloudcore that was killed is removed by another one.
// That of one which renews it stays, and so do those of other programs.
func TestAddressesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gvr := schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
		renewed := map[string]any{"edgekit.io/renewed": "2026-01-01T00:00:00Z"}
		foreign := endpointSlice("foreign", "3", renewed)
		foreign.SetLabels(nil)
		client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), map[schema.GroupVersionResource]string{gvr: "EndpointSliceList"},
			endpointSlice("killed", "1", renewed), endpointSlice("alive", "2", renewed), endpointSlice("unmarked", "4", nil), foreign)
		client.PrependReactor("patch", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
			patch := a.(clienttesting.PatchAction)
			obj := &unstructured.Unstructured{}
			if err := json.Unmarshal(patch.GetPatch(), &obj.Object); err != nil {
				return true, nil, err
			}
			if patch.GetResource() == gvr {
				if client.Tracker().Create(gvr, obj, "edgekit-system") != nil {
					return true, obj, client.Tracker().Update(gvr, obj, "edgekit-system")
				}
			}
			return true, obj, nil
		})
		r, err := twins.NewRegistration(twins.RegistrationConfig{
			Dynamic: client, Namespace: "edgekit-system", Address: netip.MustParseAddrPort("10.0.0.7:6443"), Authority: func() []byte { return []byte("ca") },
		})
		if err != nil {
			t.Fatal(err)
		}
		names := func() (out []string) {
			t.Helper()
			list, err := client.Resource(gvr).Namespace("edgekit-system").List(context.Background(), metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for _, item := range list.Items {
				out = append(out, item.GetName())
			}
			slices.Sort(out)
			return out
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for i := range 7 {
			<-time.After(time.Minute)
			if err := client.Tracker().Update(gvr, endpointSlice("alive", fmt.Sprint(10+i), renewed), "edgekit-system"); err != nil {
				t.Fatal(err)
			}
			if i == 3 && !slices.Contains(names(), "killed") {
				t.Error("an address was removed after four minutes")
			}
		}
		synctest.Wait()
		if got := names(); !slices.Equal(got, []string{"alive", "edgekit-twins-10-0-0-7-6443", "foreign", "unmarked"}) {
			t.Errorf("after seven minutes there are %q", got)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := names(); !slices.Equal(got, []string{"alive", "foreign", "unmarked"}) {
			t.Errorf("after the end there are %q", got)
		}
	})
}
