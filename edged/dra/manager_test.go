package dra_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	drapb "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/edged/pluginregistry"
)

// TestSharedClaim: two pods share a claim, which is prepared for the first and unprepared
// after the last, also over restarts of the node's program.
func TestSharedClaim(t *testing.T) {
	m := newMachine(t)
	d, stop := m.driver(dratest.Config{})
	m.claim("gpu", []string{driverName}, "a", "b")
	a, b := pod("a", "gpu"), pod("b", "gpu")
	m.prepare(a)
	m.expectCalls(d, "the first pod", "NodePrepareResources uid-gpu")
	m.expectDevices(a, driverName+"/claim=uid-gpu")
	if _, err := m.m.CDIDevices(b, &b.Spec.Containers[0]); err == nil {
		t.Error("a pod whose claim was not prepared for it gets devices")
	}
	m.prepare(a)
	m.prepare(b)
	m.expectCalls(d, "again, and the second pod")
	m.expectDevices(b, driverName+"/claim=uid-gpu")
	if got := m.m.Claims("b"); len(got) != 1 || got[0].Name != "gpu" || got[0].UID != "uid-gpu" || len(got[0].Devices) != 1 || got[0].Devices[0].Driver != driverName || got[0].Devices[0].Name != "device-uid-gpu" {
		t.Errorf("claims: %+v", got)
	}
	stop()
	m.restart() // containers of a that restart need no driver
	m.expectDevices(a, driverName+"/claim=uid-gpu")
	if got := m.m.Pods(); !slices.Equal(got, []string{"a", "b"}) || !m.m.Uses("a") || m.m.Uses("c") {
		t.Errorf("pods %q", got)
	}
	d, _ = m.driver(dratest.Config{})
	m.prepare(a) // a new sandbox: the machine may have lost its CDI files
	m.expectCalls(d, "a new sandbox after a restart", "NodePrepareResources uid-gpu")
	m.unprepare("a")
	m.expectCalls(d, "one pod has ended")
	if m.m.Uses("a") || !m.m.Uses("b") {
		t.Error("not the pods that are left")
	}
	m.unprepare("b")
	m.unprepare("b")
	m.expectCalls(d, "the last pod has ended", "NodeUnprepareResources uid-gpu")
	if n := m.kept(); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// TestRefusals says why a pod cannot have its claims, in the kubelet's words, and leaves
// nothing behind.
func TestRefusals(t *testing.T) {
	m := newMachine(t)
	m.driver(dratest.Config{})
	m.claim("free", []string{driverName}, "a").Status.Allocation = nil
	m.claim("foreign", []string{driverName}, "b")
	m.claim("away", []string{driverName, "away.example.com"}, "a")
	m.claim("made", []string{driverName}, "a").OwnerReferences = []metav1.OwnerReference{{UID: "a"}, {UID: "b", Controller: new(true)}}
	template := func(statuses ...corev1.PodResourceClaimStatus) *corev1.Pod {
		p := pod("a")
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x", ResourceClaimTemplateName: new("t")}}
		p.Status.ResourceClaimStatuses = statuses
		return p
	}
	neither := pod("a")
	neither.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "x"}}
	for name, tt := range map[string]struct {
		pod  *corev1.Pod
		want string
	}{
		"no such claim":       {pod("a", "absent"), "fetch ResourceClaim absent: it does not exist"},
		"not allocated":       {pod("a", "free"), "ResourceClaim free: not allocated"},
		"of others":           {pod("a", "foreign"), "pod web (a) is not allowed to use ResourceClaim foreign (uid-foreign)"},
		"no driver":           {pod("a", "away"), "DRA driver away.example.com is not registered"},
		"not made":            {template(), `pod "ns/web": ResourceClaim not created yet`},
		"made for another":    {template(corev1.PodResourceClaimStatus{Name: "x", ResourceClaimName: new("made")}), "ResourceClaim ns/made was not created for Pod ns/web (Pod is not owner)"},
		"neither is set":      {neither, `pod "ns/web", spec.resourceClaim "x": none of the supported fields are set`},
		"turned out needless": {template(corev1.PodResourceClaimStatus{Name: "x"}), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := m.m.Prepare(t.Context(), tt.pod)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != "prepare dynamic resources: "+tt.want) {
				t.Errorf("%v\nwant %s", err, tt.want)
			}
			if m.kept() != 0 || m.m.Uses("a") {
				t.Error("something is left")
			}
		})
	}
}

// TestOldClaim: a claim that was deleted and made again waits until the old one is unprepared.
func TestOldClaim(t *testing.T) {
	m := newMachine(t)
	d, _ := m.driver(dratest.Config{})
	m.claim("gpu", []string{driverName}, "a")
	m.prepare(pod("a", "gpu"))
	m.claim("gpu", []string{driverName}, "b").UID = "second"
	if err := m.m.Prepare(t.Context(), pod("b", "gpu")); err == nil || !strings.Contains(err.Error(), "old ResourceClaim with same name gpu and different UID uid-gpu still exists") {
		t.Error(err)
	}
	m.unprepare("a")
	m.prepare(pod("b", "gpu"))
	m.expectCalls(d, "both", "NodePrepareResources uid-gpu", "NodeUnprepareResources uid-gpu", "NodePrepareResources second")
}

// TestBadDriver: whatever a driver does, the pod waits with the reason, is prepared when the
// driver is mended, and ends.
func TestBadDriver(t *testing.T) {
	for name, tt := range map[string]struct {
		set           func(d *dratest.Driver, call string)
		first, second string // what the errors say
	}{
		"fails":         {func(d *dratest.Driver, call string) { d.Fail(call, errors.New("no power")) }, "NodePrepareResources: rpc error: code = Unknown desc = no power", "NodeUnprepareResources: rpc error: code = Unknown desc = no power"},
		"the claim":     {func(d *dratest.Driver, call string) { d.Lie(call, dratest.Failure) }, "NodePrepareResources failed for ResourceClaim gpu: no such device", "NodeUnprepareResources failed for ResourceClaim gpu: the device is busy"},
		"no answer":     {func(d *dratest.Driver, call string) { d.Lie(call, dratest.Nothing) }, "NodePrepareResources skipped 1 ResourceClaims", "NodeUnprepareResources skipped 1 ResourceClaims"},
		"another claim": {func(d *dratest.Driver, call string) { d.Lie(call, dratest.Stranger) }, "returned result for unknown claim UID stranger", "returned result for unknown claim UID stranger"},
		"nameless":      {func(d *dratest.Driver, call string) { d.Lie(call, dratest.NamelessOne) }, "NodePrepareResources: a device of ResourceClaim gpu has no pool_name or no device_name", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			d, _ := m.driver(dratest.Config{})
			m.claim("gpu", []string{driverName}, "a")
			p := pod("a", "gpu")
			tt.set(d, "NodePrepareResources")
			if err := m.m.Prepare(t.Context(), p); err == nil || !strings.Contains(err.Error(), tt.first) {
				t.Errorf("%v\nwant %s", err, tt.first)
			}
			if _, err := m.m.CDIDevices(p, &p.Spec.Containers[0]); err == nil || !m.m.Uses("a") {
				t.Errorf("after a failure: %v; the driver may have prepared the claim: %t", err, m.m.Uses("a"))
			}
			d.Fail("NodePrepareResources", nil)
			d.Lie("NodePrepareResources", dratest.Truth)
			m.prepare(p)
			if tt.second != "" {
				tt.set(d, "NodeUnprepareResources")
				if err := m.m.Unprepare(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), tt.second) || !m.m.Uses("a") {
					t.Errorf("%v\nwant %s", err, tt.second)
				}
				d.Fail("NodeUnprepareResources", nil)
				d.Lie("NodeUnprepareResources", dratest.Truth)
			}
			m.unprepare("a")
			if m.kept() != 0 || len(d.Prepared()) != 0 {
				t.Errorf("left: %d records, prepared %q", m.kept(), d.Prepared())
			}
		})
	}
}

// TestHungDriver holds up only the pods that share its claim.
func TestHungDriver(t *testing.T) {
	m := newMachine(t)
	hung, _ := m.driver(dratest.Config{})
	other, _ := m.driver(dratest.Config{Name: "other.example.com"})
	m.claim("gpu", []string{driverName}, "a", "c")
	m.claim("nic", []string{"other.example.com"}, "b")
	hung.Hang("NodePrepareResources", true)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 2)
	for _, uid := range []string{"a", "c"} {
		go func() { failed <- m.m.Prepare(ctx, pod(uid, "gpu")) }()
	}
	m.prepare(pod("b", "nic"))
	m.expectDevices(pod("b", "nic"), "other.example.com/claim=uid-nic")
	m.unprepare("b")
	m.expectCalls(other, "the driver that works", "NodePrepareResources uid-nic", "NodeUnprepareResources uid-nic")
	cancel()
	for range 2 {
		if err := <-failed; err == nil {
			t.Error("a driver that hangs has prepared a claim")
		}
	}
	hung.Hang("NodePrepareResources", false)
	m.prepare(pod("c", "gpu"))
	m.unprepare("a")
	m.unprepare("c")
}

// TestLateComer: a pod that comes for a claim while its unpreparing fails has it prepared
// again, and keeps it when the other's end is tried again.
func TestLateComer(t *testing.T) {
	m := newMachine(t)
	d, _ := m.driver(dratest.Config{})
	m.claim("gpu", []string{driverName}, "a", "b")
	m.prepare(pod("a", "gpu"))
	d.Fail("NodeUnprepareResources", errors.New("cut off"))
	if err := m.m.Unprepare(t.Context(), "a"); err == nil {
		t.Error("no error")
	}
	m.prepare(pod("b", "gpu"))
	d.Fail("NodeUnprepareResources", nil)
	m.unprepare("a")
	m.expectCalls(d, "in all", "NodePrepareResources uid-gpu", "NodeUnprepareResources uid-gpu", "NodePrepareResources uid-gpu")
	m.expectDevices(pod("b", "gpu"), driverName+"/claim=uid-gpu")
	m.unprepare("b")
}

// TestTwoDrivers: a claim with devices of two drivers; one that is away keeps neither the
// other nor another claim from being unprepared.
func TestTwoDrivers(t *testing.T) {
	m := newMachine(t)
	a, _ := m.driver(dratest.Config{})
	m.claim("both", []string{"other.example.com", driverName}, "p")
	m.claim("own", []string{driverName}, "p")
	b, stop := m.driver(dratest.Config{Name: "other.example.com"})
	p := pod("p", "both", "own")
	m.prepare(p)
	m.expectDevices(p, driverName+"/claim=uid-both", "other.example.com/claim=uid-both", driverName+"/claim=uid-own")
	a.Calls()
	b.Calls()
	b.Fail("NodeUnprepareResources", errors.New("away"))
	if err := m.m.Unprepare(t.Context(), "p"); err == nil || !m.m.Uses("p") {
		t.Errorf("%v", err)
	}
	m.expectCalls(a, "the other driver is away", "NodeUnprepareResources uid-both", "NodeUnprepareResources uid-own")
	b.Fail("NodeUnprepareResources", nil)
	m.unprepare("p")
	if m.kept() != 0 {
		t.Error("records are left")
	}
	stop()
}

// TestContainers: a container gets the devices of the claims and requests that it names, and
// of its extended resources.
func TestContainers(t *testing.T) {
	m := newMachine(t)
	d, _ := m.driver(dratest.Config{Service: "v1beta1.DRAPlugin"})
	m.claim("gpu", []string{driverName}, "a")
	m.claim("web-extended", []string{driverName}, "a")
	device := func(name string, cdi string, requests ...string) *drapb.Device {
		return &drapb.Device{PoolName: "p", DeviceName: name, CdiDeviceIds: []string{"v/c=" + cdi}, RequestNames: requests}
	}
	d.SetDevices("uid-gpu", device("d0", "0", "one"), device("d1", "1", "two"), device("d2", "common"), device("d3", "1", "two"))
	d.SetDevices("uid-web-extended", device("e0", "e0", "container-0-request-0"), device("e1", "e1", "container-1-request-0"))
	p := pod("a", "gpu")
	p.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{ResourceClaimName: "web-extended", RequestMappings: []corev1.ContainerExtendedResourceRequest{
		{ContainerName: "main", ResourceName: "example.com/gpu", RequestName: "container-0-request-0"},
		{ContainerName: "other", ResourceName: "example.com/gpu", RequestName: "container-1-request-0"},
	}}
	m.prepare(p)
	container := func(claims []corev1.ResourceClaim, extended string) *corev1.Container {
		c := &corev1.Container{Name: "main", Resources: corev1.ResourceRequirements{Claims: claims}}
		if extended != "" {
			c.Resources.Requests = corev1.ResourceList{"example.com/gpu": resource.MustParse(extended)}
		}
		return c
	}
	for name, tt := range map[string]struct {
		c    *corev1.Container
		want []string
		view int // devices in ContainerClaims
	}{
		"none":             {container(nil, ""), nil, 0},
		"whole claim":      {container([]corev1.ResourceClaim{{Name: "local-gpu"}}, ""), []string{"v/c=0", "v/c=1", "v/c=common"}, 4},
		"one request":      {container([]corev1.ResourceClaim{{Name: "local-gpu", Request: "two"}}, ""), []string{"v/c=1", "v/c=common"}, 3},
		"two requests":     {container([]corev1.ResourceClaim{{Name: "local-gpu", Request: "two"}, {Name: "local-gpu", Request: "one"}}, ""), []string{"v/c=1", "v/c=common", "v/c=0"}, 4},
		"extended":         {container(nil, "1"), []string{"v/c=e0"}, 1},
		"none of extended": {container(nil, "0"), nil, 0},
		"both":             {container([]corev1.ResourceClaim{{Name: "local-gpu", Request: "one"}}, "1"), []string{"v/c=0", "v/c=common", "v/c=e0"}, 3},
	} {
		got, err := m.m.CDIDevices(p, tt.c)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, tt.want)
		}
		view := 0
		for _, c := range m.m.ContainerClaims(p, tt.c) {
			view += len(c.Devices)
		}
		if view != tt.view {
			t.Errorf("%s: the view has %d devices, want %d", name, view, tt.view)
		}
	}
	if got := m.m.Claims("a"); len(got) != 2 || got[0].Name != "gpu" || got[1].Name != "web-extended" {
		t.Errorf("%+v", got)
	}
	m.unprepare("a")
}

// TestSkippedOperations does not need a driver that says so of all devices (KEP-5491).
func TestSkippedOperations(t *testing.T) {
	m := newMachine(t)
	c := m.claim("gpu", []string{"lazy.example.com", "lazy.example.com"}, "a")
	c.Status.Allocation.Devices.Results[0].SkipNodeOperations = []resourcev1.SkipNodeOperation{resourcev1.SkipNodeOperationAll}
	if err := m.m.Prepare(t.Context(), pod("a", "gpu")); err == nil {
		t.Error("the second device needs the driver")
	}
	c.Status.Allocation.Devices.Results[1].SkipNodeOperations = []resourcev1.SkipNodeOperation{resourcev1.SkipNodeOperationNodePrepareResources}
	m.prepare(pod("a", "gpu"))
	m.expectDevices(pod("a", "gpu"))
	if err := m.m.Unprepare(t.Context(), "a"); err == nil {
		t.Error("the second device needs the driver for its end")
	}
	m.driver(dratest.Config{Name: "lazy.example.com"})
	m.unprepare("a")
}

// TestRegister refuses what cannot be called, and one plugin the endpoint of another.
func TestRegister(t *testing.T) {
	m := newMachine(t)
	first := &pluginregistry.Plugin{Type: pluginregistry.DRAPlugin, Name: driverName, Endpoint: "/run/d.sock", Versions: []string{"v1.DRAPlugin"}}
	if err := m.m.Register(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	defer m.m.Deregister(first)
	for _, tt := range []struct {
		endpoint string
		versions []string
		want     string
	}{
		{"/run/e.sock", nil, "empty list of supported gRPC services"},
		{"/run/e.sock", []string{"v1alpha4.DRAPlugin"}, "none of services supported by the plugin"},
		{"e.sock", []string{"v1.DRAPlugin"}, "is no absolute path"},
		{"/run/d.sock", []string{"v1.DRAPlugin"}, "endpoint /run/d.sock already registered for DRA driver plugin " + driverName},
	} {
		p := &pluginregistry.Plugin{Name: driverName, Endpoint: tt.endpoint, Versions: tt.versions}
		if err := m.m.Register(t.Context(), p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v\nwant %s", err, tt.want)
		}
		m.m.Deregister(p)
	}
}

// TestRollingUpdate calls the newest plugin of a driver that can be reached.
func TestRollingUpdate(t *testing.T) {
	m := newMachine(t)
	d, _ := m.driver(dratest.Config{})
	next := &pluginregistry.Plugin{Name: driverName, Endpoint: m.root + "/nobody.sock", Versions: []string{"v1.DRAPlugin"}}
	if err := m.m.Register(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	defer m.m.Deregister(next)
	m.claim("gpu", []string{driverName}, "a")
	m.prepare(pod("a", "gpu"))
	m.expectCalls(d, "the one that can be reached", "NodePrepareResources uid-gpu")
}

// TestMetrics has the kubelet's names and labels.
func TestMetrics(t *testing.T) {
	m := newMachine(t)
	m.driver(dratest.Config{})
	m.claim("gpu", []string{driverName}, "a")
	m.prepare(pod("a", "gpu"))
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m.m)
	gather := func() map[string]float64 {
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := make(map[string]float64)
		for _, family := range families {
			for _, metric := range family.Metric {
				var labels []string
				for _, l := range metric.Label {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
				out[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = metric.GetGauge().GetValue() + float64(metric.GetHistogram().GetSampleCount())
			}
		}
		return out
	}
	const calls = "dra_grpc_operations_duration_seconds{driver_name=devices.example.com,grpc_status_code=OK,method_name=/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/"
	want := map[string]float64{
		"dra_resource_claims_in_use{driver_name=<any>}": 1, "dra_resource_claims_in_use{driver_name=devices.example.com}": 1,
		"dra_operations_duration_seconds{is_error=false,operation_name=PrepareResources}": 1, calls + "NodePrepareResources}": 1,
	}
	if got := gather(); !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	m.unprepare("a")
	delete(want, "dra_resource_claims_in_use{driver_name=devices.example.com}")
	want["dra_resource_claims_in_use{driver_name=<any>}"] = 0
	want["dra_operations_duration_seconds{is_error=false,operation_name=UnprepareResources}"], want[calls+"NodeUnprepareResources}"] = 1, 1
	if got := gather(); !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
}

func TestNew(t *testing.T) {
	if _, err := dra.New(dra.Config{}); err == nil {
		t.Error("a Manager without a store")
	}
}
