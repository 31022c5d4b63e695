package tracing_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta/kube"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/meta/resources"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/devicesync"
	twinmqtt "github.com/edgekit/edgekit/twin/mqtt"
)

const edgeNode = "edge-1"

// reports are the agent's reports with their spans, as edgecore makes them.
type reports struct {
	*kube.Client
	tracer *tracing.Tracer
}

func (r reports) PodStatus(ctx context.Context, pod *corev1.Pod) error {
	return r.tracer.PodReport(resources.PodStatus, pod, func() error { return r.Client.PodStatus(ctx, pod) })
}

func (r reports) PodGone(ctx context.Context, pod *corev1.Pod) error {
	return r.tracer.PodReport(resources.Pods, pod, func() error { return r.Client.PodGone(ctx, pod) })
}

// newTracer makes the tracer of a program.
func newTracer(t *testing.T, cfg tracing.Config) *tracing.Tracer {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	tracer, err := tracing.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tracer
}

// must makes the error of a constructor the end of the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// cloudHalf runs what cloudcore has, at the API server, for the nodes of a network.
func cloudHalf(ctx context.Context, t *testing.T, g *errgroup.Group, server *apiservertest.Server, network *memconn.Network, tracer *tracing.Tracer) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	c := must[*controller.Controller](t)(controller.New(controller.Config{REST: server.Admin, ID: "cloudcore-test", DeviceStatusEvery: 100 * time.Millisecond, Logger: log}))
	mux := &hub.Mux{}
	c.Handle(mux)
	nodes := must[*hub.Server](t)(hub.NewServer(hub.ServerConfig{Listener: network, Directory: tracer.Directory(c), Mux: mux, Logger: log}))
	g.Go(func() error { return c.Run(ctx, nodes) })
	select {
	case <-c.Ready():
	case <-ctx.Done():
		t.Fatal("the controller is not ready")
	}
	g.Go(func() error { return nodes.Run(ctx) })
	g.Go(func() error { return tracer.Run(ctx) })
}

// nodeHalf runs what edgecore has, with a runtime in memory, and a mapper that sets over MQTT what the twin desires.
func nodeHalf(ctx context.Context, t *testing.T, g *errgroup.Group, network *memconn.Network, tracer *tracing.Tracer) {
	t.Helper()
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	dir, store, rt := t.TempDir(), memstore.New(), runtimetest.New()
	rt.AddImage("docker.io/library/busybox:latest")
	link := must[*hub.Client](t)(hub.NewClient(hub.ClientConfig{Dialer: network.Dialer(edgeNode), Node: edgeNode, Backoff: hub.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}, Logger: log}))
	mgr := must[*manager.Manager](t)(manager.New(manager.Config{Store: store, Caller: link, Node: edgeNode, Logger: log}))
	objects := must[*kube.Client](t)(kube.New(kube.Config{Store: store, Manager: mgr, Node: edgeNode, Logger: log}))
	agent := must[*edged.Agent](t)(edged.New(edged.Config{
		NodeName: edgeNode, Runtime: rt, Objects: objects, Reports: reports{objects, tracer}, Trace: tracer.PodTrace(), Store: store,
		Root: filepath.Join(dir, "edged"), LogRoot: filepath.Join(dir, "logs"),
		Eviction: edged.Eviction{Hard: map[string]string{}}, ImageGC: edged.ImageGC{HighThresholdPercent: 100}, Logger: log,
	}))
	engine := must[*twin.Engine](t)(twin.New(twin.Config{Store: store}))
	mqtt := must[*bus.Bus](t)(bus.New(bus.Config{Internal: bustest.New()}))
	bridge := must[*twinmqtt.Bridge](t)(twinmqtt.New(twinmqtt.Config{Engine: engine, Bus: mqtt, Node: edgeNode, Published: tracer.Published(), Logger: log}))
	syncer := must[*devicesync.Syncer](t)(devicesync.New(devicesync.Config{Engine: engine, Store: store, Reporter: tracer.Reporter(mgr), Interval: 50 * time.Millisecond, Logger: log}))
	if _, err := mqtt.Subscribe("$hw/events/device/+/+/twin/update/delta", func(ctx context.Context, m bus.Message) { obey(ctx, t, mqtt, m) }); err != nil {
		t.Fatal(err)
	}
	ends := hub.Endpoints{Down: tracer.Sink(mgr.Down()), Up: tracer.Outbox(mgr.StateOutbox()), Outbox: mgr.EventOutbox(), Mux: &hub.Mux{}}
	tracer.Twins(engine)
	for _, run := range []func(context.Context) error{
		mgr.Run, objects.Run, agent.Run, engine.Run, mqtt.Run, bridge.Run, syncer.Run, tracer.Run,
		func(ctx context.Context) error { return link.Serve(ctx, ends) },
	} {
		g.Go(func() error { return run(ctx) })
	}
}

// obey is a mapper: it reports each desired value as the actual one.
func obey(ctx context.Context, t *testing.T, mqtt *bus.Bus, m bus.Message) {
	var delta topics.TwinDeltaMessage
	if err := json.Unmarshal(m.Payload, &delta); err != nil {
		t.Error(err)
		return
	}
	twins := make(map[string]*topics.Twin)
	for name, value := range delta.Delta {
		twins[name] = &topics.Twin{Actual: &topics.Value{Value: &value}}
	}
	payload, err := json.Marshal(topics.TwinUpdateMessage{Twin: twins})
	if err != nil {
		t.Error(err)
		return
	}
	_ = mqtt.Publish(ctx, bus.Message{Topic: m.Topic[:len(m.Topic)-len("/delta")], Payload: payload, QoS: bus.AtLeastOnce})
}

// TestWay: one trace has the whole way of a pod, and one that of a desired value of a device, in the right
// order below each other: from a real API server through both halves and back to it.
func TestWay(t *testing.T) {
	server := apiservertest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := install.Ensure(ctx, install.Config{REST: server.Admin}); err != nil {
		t.Fatal(err)
	}
	client := must[*kubernetes.Clientset](t)(kubernetes.NewForConfig(server.Admin))
	collector := newReceiver(t)
	run, stop := context.WithCancel(ctx)
	g, run := errgroup.WithContext(run)
	defer func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	}()
	network := memconn.New(memconn.Config{})
	cloudHalf(run, t, g, server, network, newTracer(t, tracing.Config{Endpoint: collector.URL, Sampling: 1, Service: "cloudcore"}))
	nodeHalf(run, t, g, network, newTracer(t, tracing.Config{Endpoint: collector.URL, Sampling: 0, Service: "edgecore", Node: edgeNode}))

	createPod(ctx, t, client)
	one := collector.wait(t, "trace of a pod", chains(
		[]string{"pod.mirror", "pod.send", "pod.store", "pod.start", "pod.image"}, []string{"pod.store", "pod.sandbox"}, []string{"pod.store", "pod.volumes"},
		[]string{"pod.store", "pod.report", "pod.report.send", "pod.report.write"}))
	if s := named(one, "pod.image")[0]; s.attributes["container.image.name"] != "busybox" || s.attributes["k8s.container.name"] != "main" || s.attributes["k8s.pod.name"] != "web" || s.attributes["k8s.node.name"] != edgeNode {
		t.Errorf("attributes of pod.image: %v", s.attributes)
	}
	createDevice(ctx, t, must[*dynamic.DynamicClient](t)(dynamic.NewForConfig(server.Admin)))
	collector.wait(t, "trace of a device", func(all []span) []span {
		down := []string{"device.mirror", "device.send", "device.store", "twin.apply", "twin.publish"}
		for _, cause := range []string{"twin.publish", "twin.apply"} { // a mapper may answer before the bus says that it has the delta
			if one := chains(down, []string{cause, "twin.report", "device.report", "device.report.send", "device.report.write"})(all); one != nil {
				return one
			}
		}
		return nil
	})
	if err := client.CoreV1().Pods("default").Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	collector.wait(t, "trace of the end of a pod", chains([]string{"pod.mirror", "pod.send", "pod.store", "pod.stop"}, []string{"pod.store", "pod.remove"}))
	checkNames(t, collector.all())
}

// checkNames: the published list has each span that was made, of the right program, and no other.
func checkNames(t *testing.T, all []span) {
	t.Helper()
	want, got := make(map[string]string), make(map[string]string)
	for _, s := range tracing.Spans() {
		want[s.Name] = s.Program
	}
	for _, s := range all {
		got[s.name] = s.service
	}
	if !maps.Equal(want, got) {
		t.Errorf("made: %v\npublished: %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// chains returns the spans of the first trace in which, for each list of names, some spans with these names
// are each below the one before; none if there is no such trace.
func chains(lists ...[]string) func([]span) []span {
	return func(all []span) []span {
		traces := make(map[string][]span)
		for _, s := range all {
			traces[s.trace] = append(traces[s.trace], s)
		}
		for _, one := range traces {
			if !slices.ContainsFunc(lists, func(names []string) bool { return !hasChain(one, names) }) {
				return one
			}
		}
		return nil
	}
}

func hasChain(all []span, names []string) bool {
	above := named(all, names[0])
	for _, name := range names[1:] {
		var below []span
		for _, s := range named(all, name) {
			if !s.ended.Before(s.began) && slices.ContainsFunc(above, func(p span) bool { return p.id == s.parent }) {
				below = append(below, s)
			}
		}
		above = below
	}
	return len(above) > 0
}

func createPod(ctx context.Context, t *testing.T, client kubernetes.Interface) {
	t.Helper()
	no := false
	if _, err := client.CoreV1().ServiceAccounts("default").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.PodSpec{
		NodeName: edgeNode, AutomountServiceAccountToken: &no, DNSPolicy: corev1.DNSDefault, Tolerations: []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
		Containers: []corev1.Container{{Name: "main", Image: "busybox", ImagePullPolicy: corev1.PullIfNotPresent}},
	}}
	if _, err := client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

const modelYAML = `
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {name: boiler-model}
spec:
  properties:
  - {name: target, type: INT, accessMode: ReadWrite, minimum: "10", maximum: "80"}
`

const deviceYAML = `
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {name: boiler}
spec:
  nodeName: edge-1
  deviceModelRef: {name: boiler-model}
  protocol: {protocolName: modbus}
  properties:
  - name: target
    desired: {value: "45"}
    reportToCloud: true
    visitors: {protocolName: modbus, configData: {register: HoldingRegister, offset: 3}}
`

func createDevice(ctx context.Context, t *testing.T, client dynamic.Interface) {
	t.Helper()
	for resource, text := range map[string]string{"devicemodels": modelYAML, "devices": deviceYAML} {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Resource(v1beta1.GroupVersion().WithResource(resource)).Namespace("default").Create(ctx, u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
