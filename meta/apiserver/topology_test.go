package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/resources"
)

func inGroup(name, group string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"x": "y"}}}
	if group != "" {
		n.Labels[wire.GroupLabel] = group
	}
	return n
}

// siteService is the Service shop/web, whose endpoints are kept within a group or not.
func siteService(value string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{wire.TopologyAnnotation: value}}}
}

// siteSlice has an endpoint on each node, and one of no node.
func siteSlice(nodes ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.99"}}},
	}
	for i, n := range nodes {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.0.0.%d", i)}, NodeName: ptr(n)})
	}
	return s
}

func endpointsOf(s *discoveryv1.EndpointSlice) string {
	var all []string
	for _, e := range s.Endpoints {
		if e.NodeName == nil {
			all = append(all, "-")
		} else {
			all = append(all, *e.NodeName)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func newSite(t *testing.T) *scene {
	sc := newScene(t, nil)
	sc.put("nodes", "1", inGroup("gate-7", "a"))
	for name, group := range map[string]string{"gate-7": "a", "n1": "a", "n2": "b"} {
		sc.put(wire.MembersResource, "1", inGroup(name, group))
	}
	sc.put("services", "1", siteService(wire.TopologyNodeGroup))
	sc.put("endpointslices", "1", siteSlice("gate-7", "n1", "n2", "n3"))
	return sc
}

func (sc *scene) endpoints() string {
	sc.t.Helper()
	list, err := sc.client("").DiscoveryV1().EndpointSlices("").List(sc.t.Context(), metav1.ListOptions{})
	must(sc.t, err)
	one, err := sc.client("").DiscoveryV1().EndpointSlices("shop").Get(sc.t.Context(), "web-1", metav1.GetOptions{})
	must(sc.t, err)
	if endpointsOf(&list.Items[0]) != endpointsOf(one) {
		sc.t.Errorf("the list has %s, get has %s", endpointsOf(&list.Items[0]), endpointsOf(one))
	}
	return endpointsOf(one)
}

// TestEndpointsOfGroup: what a node sees by its group, the annotation and what the cloud says.
func TestEndpointsOfGroup(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		want   string
	}{
		"of the group":        {func(*scene) {}, "- gate-7 n1"},
		"no annotation":       {func(sc *scene) { sc.put("services", "2", siteService("other")) }, "- gate-7 n1 n2 n3"},
		"no Service":          {func(sc *scene) { sc.drop("services", "shop", "web") }, "- gate-7 n1 n2 n3"},
		"another group":       {func(sc *scene) { sc.move("b") }, "- gate-7 n2"},
		"no group":            {func(sc *scene) { sc.move("") }, "- gate-7 n3"},
		"an older cloudcore":  {func(sc *scene) { sc.drop(wire.MembersResource, "", "gate-7") }, "- gate-7 n1 n2 n3"},
		"a slice of nobody":   {func(sc *scene) { s := siteSlice("n2"); s.Labels = nil; sc.put("endpointslices", "2", s) }, "- n2"},
		"a bad member":        {func(sc *scene) { sc.apply(meta.Op{Key: meta.Down + wire.MembersResource + "//n1", Value: []byte{1}}) }, "- gate-7"},
		"no Node of this one": {func(sc *scene) { sc.drop("nodes", "", "gate-7") }, "- gate-7 n3"},
	} {
		t.Run(name, func(t *testing.T) {
			sc := newSite(t)
			c.change(sc)
			if got := sc.endpoints(); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestTrafficDistribution: kube-proxy on the node decides by a Service's trafficDistribution and the
// hints of its endpoints. Both reach it as the cloud has them, and the endpoints that a node does not see for
// its group take their hints along.
func TestTrafficDistribution(t *testing.T) {
	for _, kind := range []string{corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode} {
		t.Run(kind, func(t *testing.T) {
			sc := newSite(t)
			for _, name := range []string{"web", "plain"} {
				service := siteService(map[string]string{"web": wire.TopologyNodeGroup}[name])
				service.Name, service.Spec.TrafficDistribution = name, ptr(kind)
				sc.put("services", "2", service)
				slice := siteSlice("gate-7", "n1", "n2")
				slice.Name, slice.Labels[discoveryv1.LabelServiceName] = name+"-1", name
				for i := range slice.Endpoints {
					e := &slice.Endpoints[i]
					e.Zone = ptr("zone-" + endpointsOf(&discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{*e}}))
					e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: *e.Zone}}}
					if e.NodeName != nil {
						e.Hints.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
					}
				}
				sc.put("endpointslices", "2", slice)
				got, err := sc.client("").CoreV1().Services("shop").Get(t.Context(), name, metav1.GetOptions{})
				must(t, err)
				if got.Spec.TrafficDistribution == nil || *got.Spec.TrafficDistribution != kind {
					t.Errorf("%s: trafficDistribution is %v", name, got.Spec.TrafficDistribution)
				}
				served, err := sc.client("").DiscoveryV1().EndpointSlices("shop").Get(t.Context(), slice.Name, metav1.GetOptions{})
				must(t, err)
				want := slice.Endpoints
				if name == "web" {
					want = want[:3] // n2 is in another group
				}
				if !equality.Semantic.DeepEqual(served.Endpoints, want) {
					t.Errorf("%s: %+v, want %+v", name, served.Endpoints, want)
				}
			}
		})
	}
}

// move puts the node into another group.
func (sc *scene) move(group string) {
	sc.t.Helper()
	sc.put(wire.MembersResource, "2", inGroup("gate-7", group))
	sc.put("nodes", "2", inGroup("gate-7", group))
}

// TestWatchEndpointsOfGroup: a watch follows labels and annotations at once, and resumes without a
// gap.
func TestWatchEndpointsOfGroup(t *testing.T) {
	sc := newSite(t)
	client := sc.client("").DiscoveryV1().EndpointSlices("shop")
	list, err := client.List(t.Context(), metav1.ListOptions{})
	must(t, err)
	w, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	must(t, err)
	defer w.Stop()
	last := list.ResourceVersion
	expect := func(w watch.Interface, want string) {
		t.Helper()
		select {
		case e := <-w.ResultChan():
			s, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok || e.Type != watch.Modified || endpointsOf(s) != want || s.ResourceVersion <= last {
				t.Fatalf("%s %+v, want MODIFIED %s after %s", e.Type, e.Object, want, last)
			}
			last = s.ResourceVersion
		case <-time.After(10 * time.Second):
			t.Fatalf("no event, want %s", want)
		}
	}
	sc.put(wire.MembersResource, "2", inGroup("n3", "a"))
	expect(w, "- gate-7 n1 n3")
	sc.drop(wire.MembersResource, "", "n1")
	expect(w, "- gate-7 n3")
	other := inGroup("gate-7", "a")
	other.Labels["x"] = "z"
	sc.put("nodes", "3", other) // nothing that matters
	sc.put("services", "2", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "else"}})
	sc.put("endpointslices", "2", siteSlice("n2", "n3"))
	expect(w, "- n3")
	sc.put("nodes", "4", inGroup("gate-7", "b")) // its member says a: for the moment nothing is left out
	expect(w, "- n2 n3")
	sc.put(wire.MembersResource, "3", inGroup("gate-7", "b"))
	expect(w, "- n2")
	sc.put("services", "3", siteService(""))
	expect(w, "- n2 n3")

	// From before the last changes.
	resumed, err := client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: last})
	must(t, err)
	resumed.Stop()
	sc.put("services", "4", siteService(wire.TopologyNodeGroup))
	expect(w, "- n2")
	before := last
	sc.put("nodes", "5", inGroup("gate-7", ""))
	expect(w, "-")
	resumed, err = client.Watch(t.Context(), metav1.ListOptions{ResourceVersion: before})
	must(t, err)
	defer resumed.Stop()
	last = before
	expect(resumed, "-")
}

// countingStore counts the lists of a store.
type countingStore struct {
	meta.Store
	lists int
}

func (s *countingStore) List(ctx context.Context, prefix string) ([]meta.Record, uint64, error) {
	s.lists++
	return s.Store.List(ctx, prefix)
}

// TestTopologyIsReadSeldom: a watch does not read the store for what changes nothing, such as the
// status of the Node, nor once for each of many nodes that come at once.
func TestTopologyIsReadSeldom(t *testing.T) {
	sc := newSite(t)
	store := &countingStore{Store: sc.store}
	s := &Server{cfg: sc.cfg, catalog: sc.catalog}
	s.cfg.Store = store
	top, err := s.topology(t.Context())
	must(t, err)
	event := func(resource, namespace, name string) meta.Event {
		t.Helper()
		record, err := sc.store.Get(t.Context(), meta.Down+meta.Key{Resource: resource, Namespace: namespace, Name: name}.Path())
		must(t, err)
		return meta.Event{Record: record}
	}
	wt := &watcher{s: s, res: sc.catalog.find(discoveryv1.GroupName, "v1", resources.EndpointSlices), topology: top, known: make(map[meta.Key]bool)}
	sc.put("nodes", "9", inGroup("gate-7", "a"))
	sc.put("services", "9", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "else"}})
	for i := range 100 {
		sc.put(wire.MembersResource, "9", inGroup(fmt.Sprintf("new-%d", i), "a"))
	}
	store.lists = 0
	for _, e := range []meta.Event{event("nodes", "", "gate-7"), event("services", "shop", "web"), event("services", "shop", "else"), event(wire.MembersResource, "", "n1")} {
		if !wt.topologyEvent(t.Context(), e) || store.lists > 0 {
			t.Errorf("%s read the store %d times", e.Key, store.lists)
		}
	}
	for i := range 100 {
		if !wt.topologyEvent(t.Context(), event(wire.MembersResource, "", fmt.Sprintf("new-%d", i))) {
			t.Fatal("the watch ended")
		}
	}
	if store.lists == 0 || store.lists > 5 {
		t.Errorf("100 nodes that came at once: the store was read %d times", store.lists)
	}
	wt.topology, store.lists = nil, 0
	if !wt.topologyEvent(t.Context(), event(wire.MembersResource, "", "n1")) || store.lists > 0 {
		t.Errorf("no Service is kept within a group, and the store was read %d times", store.lists)
	}
}

// TestKeepsTopology: which requests are answered here while the link is connected.
func TestKeepsTopology(t *testing.T) {
	sc := newSite(t)
	keeps := func(path string) bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node"+path, http.NoBody)
		must(t, err)
		q, _ := parseRequest(r.Method, r.URL)
		return sc.keepsTopology(t.Context(), q)
	}
	for path, want := range map[string]bool{
		"/apis/discovery.k8s.io/v1/endpointslices?watch=1": true, "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices/web-1": true,
		"/api/v1/services": false, "/apis/x.example.com/v1/endpointslices": false,
	} {
		if got := keeps(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
	sc.put("services", "2", siteService(""))
	if keeps("/apis/discovery.k8s.io/v1/endpointslices") {
		t.Error("kept though no Service is kept within a group")
	}
}
