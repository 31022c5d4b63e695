package dra_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/dra"
	"github.com/edgekit/edgekit/edged/dra/dratest"
	"github.com/edgekit/edgekit/edged/pluginregistry"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const driverName = "devices.example.com"

// machine is a node with a store and drivers, and the cloud's claims.
type machine struct {
	t     *testing.T
	root  string
	store meta.Store
	m     *dra.Manager
	stop  func() // ends the look for drivers of this life

	mu     sync.Mutex
	claims map[string]*resourcev1.ResourceClaim
}

func (m *machine) ResourceClaim(_ context.Context, namespace, name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.claims[namespace+"/"+name]
	if c == nil {
		return nil, errors.New("it does not exist")
	}
	return json.Marshal(c)
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	root, err := os.MkdirTemp("", "dra") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	store := memstore.New()
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), os.RemoveAll(root)); err != nil {
			t.Error(err)
		}
	})
	m := &machine{t: t, root: root, store: store, claims: make(map[string]*resourcev1.ResourceClaim)}
	m.restart()
	return m
}

// restart begins another life of the node's program: with the store, without drivers.
func (m *machine) restart() {
	m.t.Helper()
	if m.stop != nil {
		m.stop()
	}
	var err error
	if m.m, err = dra.New(dra.Config{Store: m.store, Claims: m}); err != nil {
		m.t.Fatal(err)
	}
	if err := m.m.Load(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	registry, err := pluginregistry.New(pluginregistry.Config{
		Folder: filepath.Join(m.root, "reg"), Interval: 5 * time.Millisecond, Handlers: map[string]pluginregistry.Handler{pluginregistry.DRAPlugin: m.m},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.stop = m.run(registry.Run)
}

// run runs something until the function that it gives is called, which may be twice.
func (m *machine) run(what func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan error, 1)
	go func() { done <- what(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	})
	m.t.Cleanup(stop)
	return stop
}

// driver runs a driver, and waits until the node's Manager has it.
func (m *machine) driver(cfg dratest.Config) (d *dratest.Driver, stop func()) {
	m.t.Helper()
	if cfg.Name == "" {
		cfg.Name = driverName
	}
	cfg.Folder, cfg.Registry = filepath.Join(m.root, cfg.Name), filepath.Join(m.root, "reg")
	d, err := dratest.New(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	stop = m.run(d.Run)
	if s := <-d.Registered(); !s.PluginRegistered {
		m.t.Fatalf("registration: %v", s)
	}
	return d, stop
}

// claim adds a claim with devices of drivers, reserved for pods.
func (m *machine) claim(name string, drivers []string, pods ...string) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name)}}
	c.Status.Allocation = &resourcev1.AllocationResult{}
	for _, d := range drivers {
		c.Status.Allocation.Devices.Results = append(c.Status.Allocation.Devices.Results, resourcev1.DeviceRequestAllocationResult{Request: "one", Driver: d, Pool: "pool", Device: "d"})
	}
	for _, p := range pods {
		c.Status.ReservedFor = append(c.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "web", UID: types.UID(p)})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.claims["ns/"+name] = c
	return c
}

// pod is a pod that uses claims, each under the name "local-" and its own.
func pod(uid string, claims ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: types.UID(uid)}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	for _, c := range claims {
		p.Spec.ResourceClaims = append(p.Spec.ResourceClaims, corev1.PodResourceClaim{Name: "local-" + c, ResourceClaimName: &c})
		p.Spec.Containers[0].Resources.Claims = append(p.Spec.Containers[0].Resources.Claims, corev1.ResourceClaim{Name: "local-" + c})
	}
	return p
}

func (m *machine) prepare(p *corev1.Pod) {
	m.t.Helper()
	if err := m.m.Prepare(m.t.Context(), p); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) unprepare(uid string) {
	m.t.Helper()
	if err := m.m.Unprepare(m.t.Context(), uid); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) expectCalls(d *dratest.Driver, when string, want ...string) {
	m.t.Helper()
	if got := d.Calls(); !slices.Equal(got, want) {
		m.t.Errorf("%s: the driver was asked for %q, want %q", when, got, want)
	}
}

// expectDevices checks what the first container of a pod gets.
func (m *machine) expectDevices(p *corev1.Pod, want ...string) {
	m.t.Helper()
	if got, err := m.m.CDIDevices(p, &p.Spec.Containers[0]); err != nil || !slices.Equal(got, want) {
		m.t.Errorf("CDI devices %q, %v, want %q", got, err, want)
	}
}

// kept counts what the store has of claims.
func (m *machine) kept() int {
	m.t.Helper()
	all, _, err := m.store.List(m.t.Context(), "local/dra/")
	if err != nil {
		m.t.Fatal(err)
	}
	return len(all)
}

// cdiFiles lists the CDI files that drivers have written.
func (m *machine) cdiFiles() []string {
	m.t.Helper()
	files, err := filepath.Glob(filepath.Join(m.root, "cdi", "*"))
	if err != nil {
		m.t.Fatal(err)
	}
	return files
}
