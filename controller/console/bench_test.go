package console

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"net/url"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// fleetSize is how many nodes, and devices, the benchmarks have.
const fleetSize = 100_000

func mustURL(query string) *url.URL { return &url.URL{RawQuery: query} }

func testDevice(i int) *v1beta1.Device {
	d := new(v1beta1.Device)
	d.Namespace, d.Name = fmt.Sprint("plant-", i%20), fmt.Sprintf("boiler-%06d", i)
	d.Spec.NodeName, d.Status.State = fmt.Sprintf("edge-%06d", i), []string{"online", "offline"}[i%2]
	return d
}

// newBench makes a Server that has a large fleet. heap is what the console itself takes of a
// node and a device, in bytes.
func newBench(tb testing.TB) (s *Server, heap float64) {
	tb.Helper()
	kube, dyn := controllertest.NewClientset(), dynamicfake.NewSimpleDynamicClient(kruntime.NewScheme())
	nodes, err := edge.NewNodeStore(kube, nil)
	if err != nil {
		tb.Fatal(err)
	}
	pods, err := edge.New(edge.Config{Cloud: kube, NodeClient: kube, Nodes: nodes})
	if err != nil {
		tb.Fatal(err)
	}
	dev, err := devices.New(devices.Config{Cloud: kube, Dynamic: dyn})
	if err != nil {
		tb.Fatal(err)
	}
	if s, err = New(Config{REST: &rest.Config{Host: "https://cloud"}, Cloud: kube, Nodes: nodes, Pods: pods, Devices: dev}); err != nil {
		tb.Fatal(err)
	}
	nodeObjects, deviceObjects := make([]*corev1.Node, fleetSize), make([]*v1beta1.Device, fleetSize)
	for i := range fleetSize {
		nodeObjects[i], deviceObjects[i] = testNode(i, corev1.ConditionTrue), testDevice(i)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range fleetSize {
		s.fleet.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: nodeObjects[i].Name}, New: nodeObjects[i]})
		s.devices.changed(cache.Change[*v1beta1.Device]{New: deviceObjects[i]})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(nodeObjects)
	runtime.KeepAlive(deviceObjects)
	job := &jobs.Job{Kind: v1alpha2.KindNodeUpgradeJob, Meta: metav1.ObjectMeta{Name: "up", UID: "u-1"}}
	s.jobs.jobChanged(jobs.JobChange{New: job})
	for i := range fleetSize {
		r := new(v1alpha2.NodeJobResult)
		r.Name, r.Spec.JobUID, r.Spec.NodeName = fmt.Sprint("up.", i), "u-1", nodeObjects[i].Name
		s.jobs.resultChanged(cache.Change[*v1alpha2.NodeJobResult]{New: r})
	}
	return s, (float64(after.HeapAlloc) - float64(before.HeapAlloc)) / fleetSize
}

// BenchmarkConsole measures what a request costs with 100,000 nodes and as many devices, from
// the query to the JSON.
func BenchmarkConsole(b *testing.B) {
	s, heap := newBench(b)
	ctx := context.Background()
	middle := func(sort string) string {
		return cursor{Sort: sort, Value: map[string]string{"-since": "2023-11-16T02:00:20Z", "site": "site-150"}[sort], Name: "edge-050000"}.String()
	}
	run := func(name string, f func() any) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				raw, err := json.Marshal(f())
				if err != nil || len(raw) < 10 {
					b.Fatal(err)
				}
			}
		})
	}
	nodes := func(query string) func() any {
		return func() any {
			o, err := parseList(mustURL(query).Query(), "name", "site", "state", "version", "since")
			if err != nil {
				b.Fatal(err)
			}
			q, err := nodeQuery(o)
			if err != nil {
				b.Fatal(err)
			}
			rows, next, total, err := s.fleet.rows.page(ctx, q)
			if err != nil {
				b.Fatal(err)
			}
			page := pageOf[nodeItem]{Next: next, Total: total}
			for _, r := range rows {
				page.Items = append(page.Items, s.nodeItem(r, sight{pods: true}))
			}
			return page
		}
	}
	run("nodes/first", nodes("limit=50"))
	run("nodes/middle", nodes("limit=50&cursor="+middle("name")))
	run("nodes/sorted", nodes("limit=50&sort=-since&cursor="+middle("-since")))
	run("nodes/site", nodes("limit=50&site=site-7"))
	run("nodes/search", nodes("limit=50&search=99"))
	run("nodes/search-none", nodes("limit=50&search=nothing"))
	for name, in := range map[string]scope{"devices/first": {all: true}, "devices/namespace": {in: map[string]bool{"plant-7": true}}, "devices/namespaces": {in: map[string]bool{"plant-7": true, "plant-8": true}}} {
		run(name, func() any {
			q, err := s.devices.query(listOptions{sort: "name", limit: 50}, "", in)
			if err != nil {
				b.Fatal(err)
			}
			rows, next, total, err := s.devices.rows.page(ctx, q)
			if err != nil {
				b.Fatal(err)
			}
			page := pageOf[deviceItem]{Next: next, Total: total}
			for _, d := range rows {
				page.Items = append(page.Items, newDeviceItem(d.Device))
			}
			return page
		})
	}
	run("devices/search", func() any {
		q, err := s.devices.query(listOptions{sort: "name", limit: 50, search: "99"}, "", scope{all: true})
		if err != nil {
			b.Fatal(err)
		}
		_, next, _, err := s.devices.rows.page(ctx, q)
		if err != nil {
			b.Fatal(err)
		}
		return next
	})
	run("jobs/first", func() any {
		rows, _, _, err := s.jobs.rows.page(ctx, query[jobs.Job]{order: "created", limit: 50})
		if err != nil {
			b.Fatal(err)
		}
		return newJobItem(rows[0], true)
	})
	run("jobs/nodes", func() any {
		rows, next, total, err := pageOfTree(ctx, s.jobs.resultsOf("u-1"), resultOrder(), query[v1alpha2.NodeJobResult]{order: "node", limit: 50})
		if err != nil {
			b.Fatal(err)
		}
		page := pageOf[jobNode]{Next: next, Total: total}
		for _, r := range rows {
			page.Items = append(page.Items, newJobNode(r))
		}
		return page
	})
	run("summary", func() any {
		raw, err := s.summaryJSON(sight{nodes: true, devices: &scope{all: true}, kinds: map[string]bool{v1alpha2.KindNodeUpgradeJob: true}})
		if err != nil {
			b.Fatal(err)
		}
		return raw
	})
	b.Run("update", func(b *testing.B) {
		b.ReportMetric(heap, "heap-B/node+device")
		b.ReportAllocs()
		for i := range b.N {
			n := i % fleetSize
			states := [2]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse}
			s.fleet.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: fmt.Sprintf("edge-%06d", n)}, Old: testNode(n, states[0]), New: testNode(n, states[(i/fleetSize+1)%2])})
		}
	})
	b.Run("stream", func(b *testing.B) { // an event with 200 nodes that changed
		b.ReportAllocs()
		for range b.N {
			out := &stream{w: httptest.NewRecorder()}
			s.sendNodes(out, s.fleet.now()-maxChanged, sight{nodes: true, pods: true})
		}
	})
}
