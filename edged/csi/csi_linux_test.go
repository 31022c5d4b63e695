package csi_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/csi"
	"github.com/edgekit/edgekit/edged/csi/csitest"
	"github.com/edgekit/edgekit/edged/volume"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const driverName = "folders.csi.example.com"

// notFound is the error for what a machine's cloud does not have.
type notFound struct{}

func (notFound) Error() string  { return "not there" }
func (notFound) NotFound() bool { return true }

// machine is a node with a registry and volumes, and the cloud above it.
type machine struct {
	t       *testing.T
	root    string
	drivers *csi.Registry
	changes chan []csi.Info
	driver  *csitest.Driver
	config  csitest.Config // of the driver
	ran     bool           // the driver ran, and does so once
	info    *storagev1.CSIDriver
	claim   *corev1.PersistentVolumeClaim
	pv      *corev1.PersistentVolume
	grown   int64
	node    corev1.Node
	attach  map[string]*storagev1.VolumeAttachment
	inUse   int // how often what is in use has changed
}

func (m *machine) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return nil, notFound{}
}

func (m *machine) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	if namespace+"/"+name != "ns/keys" {
		return nil, notFound{}
	}
	return &corev1.Secret{Data: map[string][]byte{"user": []byte("u")}}, nil
}

func (m *machine) Token(_ context.Context, ns, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	req = req.DeepCopy()
	req.Status.Token = ns + "/" + account + "/" + strings.Join(req.Spec.Audiences, ",")
	return req, nil
}

func (m *machine) PersistentVolumeClaim(context.Context, string, string) (*corev1.PersistentVolumeClaim, error) {
	return m.claim, nil
}

func (m *machine) PersistentVolume(context.Context, string) (*corev1.PersistentVolume, error) {
	return m.pv, nil
}

func (m *machine) CSIDriver(context.Context, string) (*storagev1.CSIDriver, error) {
	if m.info == nil {
		return nil, notFound{}
	}
	return m.info, nil
}

// run runs something until the function that it gives is called.
func (m *machine) run(what func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan error, 1)
	go func() { done <- what(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	}
}

// newMachine starts a registry, and a driver that is registered when it returns.
func newMachine(t *testing.T, without ...spec.NodeServiceCapability_RPC_Type) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
	root, err := os.MkdirTemp("", "csi") // the name of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	m := &machine{t: t, root: root, changes: make(chan []csi.Info, 8)}
	m.drivers, err = csi.New(csi.Config{
		Folder: filepath.Join(root, "reg"), Interval: 10 * time.Millisecond,
		Changed: func(_ context.Context, all []csi.Info) { m.changes <- all },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.run(m.drivers.Run))
	m.config = csitest.Config{
		Name: driverName, Node: "node-7", Folder: filepath.Join(root, "driver"), Registry: filepath.Join(root, "reg"),
		Without: without, Topology: map[string]string{"topology.example.com/rack": "a"},
	}
	if m.driver, err = csitest.New(m.config); err != nil {
		t.Fatal(err)
	}
	no := false
	m.info = &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: driverName}, Spec: storagev1.CSIDriverSpec{AttachRequired: &no}}
	m.claim = &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "data", UID: "claim"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}},
	}
	m.pv = &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{"storage": resource.MustParse("1Gi")}, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		ClaimRef: &corev1.ObjectReference{UID: "claim"}, PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
			Driver: driverName, VolumeHandle: "vol-1", VolumeAttributes: map[string]string{"class": "fast"},
			NodePublishSecretRef: &corev1.SecretReference{Namespace: "ns", Name: "keys"},
		}},
	}}
	return m
}

// register runs the driver, and waits for its registration.
func (m *machine) register() (stop func()) {
	m.t.Helper()
	if m.ran {
		var err error
		if m.driver, err = csitest.New(m.config); err != nil {
			m.t.Fatal(err)
		}
	}
	m.ran = true
	stop = m.run(m.driver.Run)
	if s := <-m.driver.Registered(); !s.PluginRegistered || s.Error != "" {
		m.t.Fatalf("registration: %v", s)
	}
	<-m.changes
	return stop
}

// volumes is a Manager as it is after a start of the agent.
func (m *machine) volumes() *volume.Manager {
	m.t.Helper()
	v, err := volume.New(volume.Config{
		Root: filepath.Join(m.root, "edged"), Source: m, Claims: m, CSI: m.drivers, CSIDrivers: m,
		Node: "node-7", Attachments: m, InUseChanged: func() { m.inUse++ },
		Expanded: func(_ context.Context, claim *corev1.PersistentVolumeClaim) error {
			if claim.Name != "data" || claim.UID != "claim" {
				m.t.Errorf("claim %q has grown", claim.Name)
			}
			m.grown = claim.Status.Capacity.Storage().Value()
			return nil
		},
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

func claimPod(uid string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: types.UID(uid)}, Spec: corev1.PodSpec{
		ServiceAccountName: "robot",
		Containers:         []corev1.Container{{Name: "main", VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
		Volumes:            []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}}
}

func (m *machine) setUp(v *volume.Manager, p *corev1.Pod) string {
	m.t.Helper()
	if _, err := v.SetUp(m.t.Context(), p, nil); err != nil {
		m.t.Fatal(err)
	}
	info, err := v.Lookup(p, "v")
	if err != nil {
		m.t.Fatal(err)
	}
	return info.Path
}

func (m *machine) expectCalls(when string, want ...string) {
	m.t.Helper()
	if got := m.driver.Calls(); !slices.Equal(got, want) {
		m.t.Errorf("%s: the driver was asked for %q, want %q", when, got, want)
	}
}

// TestRegistration: a driver is known while its socket is there, also after a restart
// of either side.
func TestRegistration(t *testing.T) {
	m := newMachine(t)
	if _, ok := m.drivers.Driver(driverName); ok {
		t.Error("a driver is known that has not registered")
	}
	stop := m.register()
	all := m.drivers.Drivers()
	if len(all) != 1 || all[0].Name != driverName || all[0].NodeID != "node-7" || all[0].MaxVolumes != 16 || all[0].Topology["topology.example.com/rack"] != "a" {
		t.Errorf("%+v", all)
	}
	node, ok := m.drivers.Driver(driverName)
	if !ok {
		t.Fatal("the driver is not known")
	}
	if can, err := node.Capabilities(t.Context()); err != nil || !can.Stage || !can.Expand || !can.Stats || can.Group {
		t.Errorf("%+v, %v", can, err)
	}
	stop()
	if left := <-m.changes; len(left) != 0 {
		t.Errorf("the driver is gone, and known: %+v", left)
	}
	m.register()()
	<-m.changes
}

// TestDriverThatCannotRegister gets the reason, and registers when it can.
func TestDriverThatCannotRegister(t *testing.T) {
	m := newMachine(t)
	m.driver.Fail("NodeGetInfo", errors.New("no such node"))
	defer m.run(m.driver.Run)()
	if s := <-m.driver.Registered(); s.PluginRegistered || !strings.Contains(s.Error, "no such node") {
		t.Errorf("%v", s)
	}
	m.driver.Fail("NodeGetInfo", nil)
	if s := <-m.driver.Registered(); !s.PluginRegistered {
		t.Errorf("%v", s)
	}
	<-m.changes
}

// TestPersistentVolume stages once for two pods, publishes for each, and takes all back
// in the order of the specification; the data stays.
func TestPersistentVolume(t *testing.T) {
	m := newMachine(t)
	v := m.volumes()
	p, second := claimPod("u"), claimPod("v")
	_, err := v.SetUp(t.Context(), p, nil)
	if want := `MountVolume.SetUp failed for volume "pv-1" : driver name ` + driverName + " not found in the list of registered CSI drivers"; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	stop := m.register()
	defer func() { stop() }()
	path := m.setUp(v, p)
	m.setUp(v, p)
	other := m.setUp(v, second)
	m.expectCalls("two pods", "NodeStageVolume vol-1", "NodePublishVolume vol-1", "NodePublishVolume vol-1")
	if context, secrets := m.driver.Published("vol-1"); context["class"] != "fast" || secrets["user"] != "u" || len(context) != 1 {
		t.Errorf("published with %v, %v", context, secrets)
	}
	if err := os.WriteFile(filepath.Join(path, "precious"), []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(other, "precious")); err != nil || string(text) != "1" {
		t.Errorf("%q, %v", text, err)
	}
	v = m.volumes() // the agent was started anew
	if _, err := v.Refresh(t.Context(), p, nil); err != nil {
		t.Error(err)
	}
	if err := v.TearDown("u"); err != nil {
		t.Error(err)
	}
	m.expectCalls("one pod ends", "NodeUnpublishVolume vol-1")
	if err := v.TearDown("v"); err != nil {
		t.Error(err)
	}
	m.expectCalls("the last pod ends", "NodeUnpublishVolume vol-1", "NodeUnstageVolume vol-1")
	if _, err := os.Stat(filepath.Join(m.driver.Volume("vol-1"), "precious")); err != nil {
		t.Errorf("the volume lost its data: %v", err)
	}
	if left, _ := filepath.Glob(m.root + "/edged/plugins/kubernetes.io/csi/*/*"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestTearDownAfterCrash takes a volume back whatever step was cut off, and however
// often a step fails.
func TestTearDownAfterCrash(t *testing.T) {
	for _, failing := range []string{"NodeStageVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume"} {
		t.Run(failing, func(t *testing.T) {
			m := newMachine(t)
			defer m.register()()
			v, p := m.volumes(), claimPod("u")
			m.driver.Fail(failing, errors.New("cut off"))
			_, errUp := v.SetUp(t.Context(), p, nil)
			v = m.volumes()
			errDown := v.TearDown("u")
			if (errUp == nil) == (errDown == nil) {
				t.Errorf("set up: %v, torn down: %v", errUp, errDown)
			}
			m.driver.Fail(failing, nil)
			if err := m.volumes().TearDown("u"); err != nil {
				t.Error(err)
			}
			if text, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(text), m.root) {
				t.Errorf("mounts are left: %v", err)
			}
			if left, _ := filepath.Glob(m.root + "/edged/p*/*/csi/*/*"); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			m.driver.Calls()
			m.setUp(m.volumes(), p)
			m.expectCalls("again", "NodeStageVolume vol-1", "NodePublishVolume vol-1")
			if err := m.volumes().TearDown("u"); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestDriverIsAway: a pod that ends waits for its driver, and what runs is not touched.
func TestDriverIsAway(t *testing.T) {
	m := newMachine(t)
	stop := m.register()
	v, p := m.volumes(), claimPod("u")
	path := m.setUp(v, p)
	if err := os.WriteFile(filepath.Join(path, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stop()
	<-m.changes
	if _, err := v.Refresh(t.Context(), p, nil); err != nil {
		t.Errorf("a pod that runs: %v", err)
	}
	if err := v.TearDown("u"); err == nil || !strings.Contains(err.Error(), "not found in the list of registered CSI drivers") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(path, "precious")); err != nil {
		t.Errorf("the volume was taken from the driver: %v", err)
	}
	defer m.register()()
	if err := v.TearDown("u"); err != nil {
		t.Error(err)
	}
}

// TestInlineVolume is made for one pod, with what its driver asks for.
func TestInlineVolume(t *testing.T) {
	m := newMachine(t)
	defer m.register()()
	yes, hour := true, int64(3600)
	m.info.Spec.PodInfoOnMount, m.info.Spec.RequiresRepublish = &yes, &yes
	m.info.Spec.TokenRequests = []storagev1.TokenRequest{{Audience: "vault", ExpirationSeconds: &hour}}
	v, p := m.volumes(), claimPod("u")
	p.Spec.Volumes[0].VolumeSource = corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
		Driver: driverName, ReadOnly: &yes, VolumeAttributes: map[string]string{"object": "x"}, NodePublishSecretRef: &corev1.LocalObjectReference{Name: "keys"},
	}}
	if _, err := v.SetUp(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), `volume mode "Ephemeral" not supported by driver`) {
		t.Error(err)
	}
	m.info.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecycleEphemeral}
	path := m.setUp(v, p)
	calls := m.driver.Calls()
	if len(calls) != 1 || !strings.HasPrefix(calls[0], "NodePublishVolume csi-") {
		t.Fatalf("%q", calls)
	}
	handle := strings.TrimPrefix(calls[0], "NodePublishVolume ")
	context, secrets := m.driver.Published(handle)
	for key, want := range map[string]string{
		"object": "x", "csi.storage.k8s.io/pod.name": "web", "csi.storage.k8s.io/pod.namespace": "ns", "csi.storage.k8s.io/pod.uid": "u",
		"csi.storage.k8s.io/serviceAccount.name": "robot", "csi.storage.k8s.io/ephemeral": "true",
	} {
		if context[key] != want {
			t.Errorf("%s is %q, want %q", key, context[key], want)
		}
	}
	if tokens := context["csi.storage.k8s.io/serviceAccount.tokens"]; !strings.Contains(tokens, `"vault":{"token":"ns/robot/vault"`) || secrets["user"] != "u" {
		t.Errorf("tokens %s, secrets %v", tokens, secrets)
	}
	if err := os.WriteFile(filepath.Join(path, "x"), nil, 0o600); err == nil {
		t.Error("a read-only volume takes writes")
	}
	prepared, err := v.Refresh(t.Context(), p, nil)
	if err != nil || time.Until(prepared.Refresh) > time.Minute {
		t.Errorf("refresh at %s, %v", prepared.Refresh, err)
	}
	m.expectCalls("published anew", "NodePublishVolume "+handle)
	if err := v.TearDown("u"); err != nil {
		t.Error(err)
	}
	m.expectCalls("the end", "NodeUnpublishVolume "+handle)
}

// TestVolumeGrows: the node's part of a resize is done for a pod that runs, once, and
// reported.
func TestVolumeGrows(t *testing.T) {
	m := newMachine(t)
	defer m.register()()
	v, p := m.volumes(), claimPod("u")
	m.setUp(v, p)
	m.driver.Calls()
	m.pv.Spec.Capacity["storage"] = resource.MustParse("2Gi")
	for range 2 {
		if _, err := v.Refresh(t.Context(), p, nil); err != nil {
			t.Error(err)
		}
	}
	m.expectCalls("a claim that grew", "NodeExpandVolume vol-1")
	if m.grown != 2<<30 {
		t.Errorf("reported %d bytes", m.grown)
	}
	m.pv.Spec.Capacity["storage"] = resource.MustParse("3Gi")
	m.driver.Fail("NodeExpandVolume", errors.New("disk full"))
	if _, err := v.Refresh(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), `NodeExpandVolume failed for volume "pv-1"`) {
		t.Error(err)
	}
	if err := v.TearDown("u"); err != nil {
		t.Error(err)
	}
}

// collect gives the metrics of the pods' volumes by name and labels.
func collect(v *volume.Manager, pods ...*corev1.Pod) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(collector{v, pods})
	families, err := registry.Gather()
	if err != nil {
		panic(err)
	}
	out := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+`="`+l.GetValue()+`"`)
			}
			out[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = m.GetGauge().GetValue()
		}
	}
	return out
}

type collector struct {
	*volume.Manager
	pods []*corev1.Pod
}

func (c collector) Collect(ch chan<- prometheus.Metric) { c.Manager.Collect(ch, c.pods) }

// TestStats asks the driver how full a volume is.
func TestStats(t *testing.T) {
	m := newMachine(t, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME)
	defer m.register()()
	v, p := m.volumes(), claimPod("u")
	path := m.setUp(v, p)
	m.expectCalls("a driver that does not stage", "NodePublishVolume vol-1")
	node, _ := m.drivers.Driver(driverName)
	if u, err := node.Stats(t.Context(), "vol-1", path, ""); err != nil || u.Bytes == 0 || u.BytesAvailable == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	m.driver.Hang("NodeGetVolumeStats", true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := node.Stats(ctx, "vol-1", path, ""); err == nil {
		t.Error("a driver that hangs answers")
	}
	m.driver.Hang("NodeGetVolumeStats", false)
	m.driver.Calls()
	for range 2 {
		if all := v.Usage(t.Context(), p); len(all) != 1 || all[0].Claim != "data" || all[0].Volume != "v" || all[0].Bytes == 0 {
			t.Errorf("%+v", all)
		}
	}
	m.expectCalls("twice in a minute", "NodeGetVolumeStats vol-1")
	got := collect(v, p, p, claimPod("no volume is set up for it"))
	for _, name := range []string{"capacity_bytes", "available_bytes", "used_bytes", "inodes", "inodes_free", "inodes_used"} {
		if value, ok := got[`kubelet_volume_stats_`+name+`{namespace="ns",persistentvolumeclaim="data"}`]; !ok || value == 0 {
			t.Errorf("%s: %v in %v", name, value, got)
		}
	}
	if err := v.TearDown("u"); err != nil {
		t.Error(err)
	}
}
