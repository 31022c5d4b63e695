package controller_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestAgainstAPIServer runs a cloudcore with no rights but those that package
// install gives it, against a real API server with the node authorizer and
// NodeRestriction, and edges over memconn. EDGEKIT_KUBECONFIG names an
// administrator of a cluster that may be written to.
func TestAgainstAPIServer(t *testing.T) {
	path := os.Getenv("EDGEKIT_KUBECONFIG")
	if path == "" {
		t.Skip("EDGEKIT_KUBECONFIG is not set")
	}
	admin, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := install.Ensure(ctx, install.Config{REST: admin}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(ctx, t, admin)
	t.Run("register", w.register)
	t.Run("pods and what they refer to", w.pods)
	t.Run("pod status and end", w.podStatus)
	t.Run("token", w.token)
	t.Run("other nodes' things", w.foreign)
	t.Run("devices", w.devices)
	t.Run("schema", w.schema)
	t.Run("identity", w.identity)
	t.Run("disconnect", w.disconnect)
}

// world is one cloudcore with one edge in a real cluster.
type world struct {
	ctx   context.Context
	kube  kubernetes.Interface
	dyn   dynamic.Interface
	net   *memconn.Network
	ns    string
	node  string
	down  *hubtest.Sink
	up    *hubtest.AckedSource
	edge  *hub.Client
	vers  int
	g     *errgroup.Group
	uid   types.UID
	clock *time.Ticker
	cloud *controller.Controller
	own   *rest.Config // cloudcore's
}

func newWorld(ctx context.Context, t *testing.T, admin *rest.Config) *world {
	w := &world{ctx: ctx, net: memconn.New(memconn.Config{}), down: &hubtest.Sink{}, up: &hubtest.AckedSource{}}
	w.kube = kubernetes.NewForConfigOrDie(admin)
	w.dyn = dynamic.NewForConfigOrDie(admin)
	w.clock = time.NewTicker(20 * time.Millisecond)
	suffix := strings.ReplaceAll(time.Now().Format("150405.000"), ".", "-")
	w.ns, w.node = "ek-"+suffix, "edge-"+suffix
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.ns}}
	if _, err := w.kube.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	own := rest.CopyConfig(admin)
	own.Impersonate = rest.ImpersonationConfig{}
	own.BearerToken = serviceAccountToken(ctx, t, w.kube)
	own.TLSClientConfig = rest.TLSClientConfig{Insecure: true}
	c, err := controller.New(controller.Config{REST: own, ID: "cc-" + suffix, DeviceStatusEvery: 100 * time.Millisecond, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	w.cloud, w.own = c, own
	mux := &hub.Mux{}
	c.Handle(mux)
	server, err := hub.NewServer(hub.ServerConfig{Listener: w.net, Directory: c, Mux: mux, Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	w.edge, err = hub.NewClient(hub.ClientConfig{
		Dialer: w.net.Dialer(w.node), Node: w.node, Down: w.down, Up: w.up,
		Backoff: hub.Backoff{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond}, Logger: testLogger(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	run, stop := context.WithCancel(ctx)
	w.g, run = errgroup.WithContext(run)
	w.g.Go(func() error { return c.Run(run, server) })
	select {
	case <-c.Ready():
	case <-time.After(time.Minute):
		t.Fatal("controller is not ready")
	}
	w.g.Go(func() error { return server.Run(run) })
	w.g.Go(func() error { return w.edge.Run(run) })
	t.Cleanup(func() {
		stop()
		if err := w.g.Wait(); err != nil {
			t.Error(err)
		}
		w.clock.Stop()
		clean := context.WithoutCancel(ctx)
		_ = w.kube.CoreV1().Nodes().Delete(clean, w.node, metav1.DeleteOptions{})
		_ = w.kube.CoreV1().Namespaces().Delete(clean, w.ns, metav1.DeleteOptions{})
	})
	return w
}

func serviceAccountToken(ctx context.Context, t *testing.T, kube kubernetes.Interface) string {
	hour := int64(3600)
	token, err := kube.CoreV1().ServiceAccounts(install.Namespace).CreateToken(ctx, "cloudcore",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &hour}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return token.Status.Token
}

// eventually waits until cond returns ""; until then cond returns what is wrong.
func (w *world) eventually(t *testing.T, cond func() string) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		wrong := cond()
		if wrong == "" {
			return
		}
		select {
		case <-deadline:
			t.Fatal(wrong)
		case <-w.clock.C:
		}
	}
}

func (w *world) report(t *testing.T, key hub.Key, body any) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	w.vers++
	w.up.Put(key, w.vers, string(raw))
}

func (w *world) holds(key hub.Key) bool { return w.down.Held(key) != "" }

func (w *world) register(t *testing.T) {
	w.report(t, hub.Key{Resource: "nodes", Name: w.node}, nodeReport(w.node))
	w.eventually(t, func() string {
		node, err := w.kube.CoreV1().Nodes().Get(w.ctx, w.node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if _, ok := node.Labels[nodelifecycle.RoleLabel]; !ok {
			return "no role label"
		}
		if node.Labels["plant"] != "a" || len(node.Status.Addresses) != 2 {
			return "node is not as reported"
		}
		for _, c := range node.Status.Conditions {
			if c.Type == nodelifecycle.ConditionConnected && c.Status == corev1.ConditionTrue {
				return ""
			}
		}
		return "no condition EdgeConnected"
	})
	w.eventually(t, func() string {
		lease, err := w.kube.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(w.ctx, w.node, metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		if *lease.Spec.HolderIdentity != w.node || lease.Annotations[nodelifecycle.HolderAnnotation] == "" {
			return "lease is wrong"
		}
		return ""
	})
	w.eventually(t, func() string {
		if !w.holds(hub.Key{Resource: "nodes", Name: w.node}) {
			return "node did not go down"
		}
		return ""
	})
}

func nodeReport(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			"kubernetes.io/hostname": name, "plant": "a", nodelifecycle.RoleLabel: "", "node-restriction.kubernetes.io/x": "y",
		}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeHostName, Address: name},
			},
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady"}},
		},
	}
}

func (w *world) createPod(t *testing.T, name string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: corev1.PodSpec{
			NodeName: w.node, ServiceAccountName: "default",
			Containers: []corev1.Container{{
				Name: "c", Image: "x",
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
			}},
			Volumes: []corev1.Volume{
				{Name: "s", VolumeSource: corev1.VolumeSource{
					Secret: &corev1.SecretVolumeSource{SecretName: "password"}}},
				{Name: "t", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
			},
		},
	}
	got, err := w.kube.CoreV1().Pods(w.ns).Create(w.ctx, pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.uid = got.UID
}

func (w *world) pods(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "password"}, StringData: map[string]string{"a": "b"}}
	if _, err := w.kube.CoreV1().Secrets(w.ns).Create(w.ctx, secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	// A cluster without a controller manager has no default service account.
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := w.kube.CoreV1().ServiceAccounts(w.ns).Create(w.ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	start := time.Now()
	w.createPod(t, "web")
	secretKey := hub.Key{Resource: "secrets", Namespace: w.ns, Name: "password"}
	mapKey := hub.Key{Resource: "configmaps", Namespace: w.ns, Name: "settings"}
	w.eventually(t, func() string {
		if !w.holds(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}) || !w.holds(secretKey) {
			return "pod or secret did not go down"
		}
		return ""
	})
	t.Logf("pod and secret at the edge after %v", time.Since(start))
	// A config map that comes later, changes, and goes.
	settings := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"k": "1"}}
	settings, err := w.kube.CoreV1().ConfigMaps(w.ns).Create(w.ctx, settings, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string { return missing(w.holds(mapKey), "config map did not go down") })
	settings.Data["k"] = "2"
	settings, err = w.kube.CoreV1().ConfigMaps(w.ns).Update(w.ctx, settings, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string {
		return missing(w.down.Held(mapKey) == settings.ResourceVersion, "changed config map did not go down")
	})
	if err := w.kube.CoreV1().ConfigMaps(w.ns).Delete(w.ctx, "settings", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string { return missing(!w.holds(mapKey), "end of config map did not go down") })
}

func missing(ok bool, what string) string {
	if ok {
		return ""
	}
	return what
}

func (w *world) podStatus(t *testing.T) {
	pods := w.kube.CoreV1().Pods(w.ns)
	key := hub.Key{Resource: "pods/status", Namespace: w.ns, Name: "web"}
	held := w.down.Held(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"})
	for _, ip := range []string{"10.9.0.1", "10.9.0.2"} {
		w.report(t, key, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "web", UID: w.uid},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, Message: "only " + ip,
				HostIP: "10.0.0.7", HostIPs: []corev1.HostIP{{IP: "10.0.0.7"}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
			},
		})
		w.eventually(t, func() string {
			pod, err := pods.Get(w.ctx, "web", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			ok := pod.Status.PodIP == ip && len(pod.Status.PodIPs) == 1 && len(pod.Status.HostIPs) == 1 && pod.Status.Message == "only "+ip
			return missing(ok, "status is not as reported")
		})
	}
	if now := w.down.Held(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}); now != held {
		t.Errorf("the node's own status came back to it: version %s after %s", now, held)
	}
	// A field that is no longer reported is cleared.
	w.report(t, key, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "web", UID: w.uid},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	})
	w.eventually(t, func() string {
		pod, err := pods.Get(w.ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		return missing(pod.Status.PodIP == "" && len(pod.Status.PodIPs) == 0 && pod.Status.Message == "", "fields are not cleared")
	})
	if err := pods.Delete(w.ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string {
		return missing(w.down.Held(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}) != held, "deletion timestamp did not go down")
	})
	err := w.apply(hub.Object{
		Key: hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}, Version: "1", Deleted: true,
		Body: []byte(`{"preconditions":{"uid":"` + string(w.uid) + `"},"gracePeriodSeconds":0}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.eventually(t, func() string {
		_, err := pods.Get(w.ctx, "web", metav1.GetOptions{})
		ok := apierrors.IsNotFound(err) && !w.holds(hub.Key{Resource: "pods", Namespace: w.ns, Name: "web"}) &&
			!w.holds(hub.Key{Resource: "secrets", Namespace: w.ns, Name: "password"})
		return missing(ok, "pod or its secret is still there")
	})
}
