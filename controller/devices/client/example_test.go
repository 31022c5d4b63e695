package client_test

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	apply "github.com/edgekit/edgekit/controller/devices/client/applyconfigurations/device/v1beta1"
	specs "github.com/edgekit/edgekit/controller/devices/client/applyconfigurations/v1beta1/schema"
	"github.com/edgekit/edgekit/controller/devices/client/clientset/fake"
	listers "github.com/edgekit/edgekit/controller/devices/client/listers/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// A program reads a Device, makes a desired value for server-side apply, and reads an informer's
// cache. The client is the fake one; clientset.NewForConfig makes a real one.
func Example() {
	boiler := &v1beta1.Device{
		ObjectMeta: metav1.ObjectMeta{Namespace: "plant", Name: "boiler"},
		Spec:       schema.DeviceSpec{ModelRef: schema.ModelRef{Name: "boiler-model"}, NodeName: "edge-7"},
	}
	devices := fake.NewSimpleClientset(boiler).DevicesV1beta1().Devices("plant")
	got, err := devices.Get(context.Background(), "boiler", metav1.GetOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(got.Spec.NodeName)

	// devices.Apply(ctx, desired, metav1.ApplyOptions{FieldManager: "example", Force: true}) sends it.
	desired := apply.Device("boiler", "plant").WithSpec(specs.DeviceSpec().WithProperties(
		specs.Property().WithName("target").WithDesired(specs.Value().WithValue("45"))))
	text, err := json.Marshal(desired)
	fmt.Println(string(text), err)

	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	if err := indexer.Add(got); err != nil {
		fmt.Println(err)
		return
	}
	listed, err := listers.NewDeviceLister(indexer).Devices("plant").Get("boiler")
	fmt.Println(listed.Name, err)
	_, err = listers.NewDeviceLister(indexer).Devices("plant").Get("other")
	fmt.Println(err)
	// Output:
	// edge-7
	// {"kind":"Device","apiVersion":"devices.kubeedge.io/v1beta1","metadata":{"name":"boiler","namespace":"plant"},"spec":{"properties":[{"name":"target","desired":{"value":"45"}}]}} <nil>
	// boiler <nil>
	// devices.devices.kubeedge.io "other" not found
}
