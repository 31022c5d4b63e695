package install_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/install/apiservertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/controller/sites"
	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/memconn"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

const recipeCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: recipes.factory.example.com}
spec:
  group: factory.example.com
  names: {kind: Recipe, listKind: RecipeList, plural: recipes, singular: recipe, shortNames: [rcp]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

var (
	recipesGVR = schema.GroupVersionResource{Group: "factory.example.com", Version: "v1", Resource: "recipes"}
	crdsGVR    = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	syncsGVR   = v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeSyncs)
)

// sitesWorld is a real API server, a cloudcore with the shipped rights, and a node with its store and
// its own API.
type sitesWorld struct {
	t     *testing.T
	a     *apiservertest.Server
	admin *kubernetes.Clientset
	dyn   dynamic.Interface
	cfg   *rest.Config // cloudcore's
	net   *memconn.Network
	cloud *controller.Controller
	halt  func() // ends the cloudcore

	store meta.Store
	mgr   *manager.Manager
	dir   string // of the node's API
	host  string
	ctx   context.Context
	wg    sync.WaitGroup

	mu   sync.Mutex
	link *hub.Client
	cut  func()
}

func newSitesWorld(t *testing.T) *sitesWorld {
	t.Helper()
	w := &sitesWorld{t: t, a: apiservertest.Start(t), store: memstore.New(), dir: t.TempDir()}
	t.Cleanup(func() { w.store.Close() })
	w.a.RunControllers(t, "clusterrole-aggregation-controller")
	w.cfg, w.admin = account(t, w.a), clientFor(t, w.a.Admin)
	var err error
	w.dyn, err = dynamic.NewForConfig(w.a.Admin)
	w.must(err)
	_, err = w.admin.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-7", Labels: map[string]string{nodelifecycle.RoleLabel: "", "site": "7"}}}, metav1.CreateOptions{})
	w.must(err)
	ctx, cancel := context.WithCancel(t.Context())
	w.ctx = ctx
	t.Cleanup(func() {
		w.disconnect()
		w.halt()
		cancel()
		w.wg.Wait()
	})
	w.startCloud("one")
	w.startNode()
	w.connect()
	return w
}

func (w *sitesWorld) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// startCloud runs a cloudcore, with a network of its own.
func (w *sitesWorld) startCloud(id string) {
	w.t.Helper()
	var err error
	w.net = memconn.New(memconn.Config{})
	network := w.net
	w.cloud, err = controller.New(controller.Config{REST: w.cfg, ID: id, Sites: &sites.Config{StatusEvery: time.Second, GoneAfter: 3 * time.Second}})
	w.must(err)
	mux := &hub.Mux{}
	w.cloud.Handle(mux)
	server, err := hub.NewServer(hub.ServerConfig{Listener: network, Mux: mux, Directory: w.cloud})
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{server.Run, func(ctx context.Context) error { return w.cloud.Run(ctx, server) }} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.halt = sync.OnceFunc(func() { cancel(); running.Wait(); network.Close() })
	select {
	case <-w.cloud.Ready():
	case <-time.After(time.Minute):
		w.t.Fatal("the cloudcore does not get ready")
	}
}

// startNode runs the node's own parts, without a link.
func (w *sitesWorld) startNode() {
	w.t.Helper()
	var err error
	w.mgr, err = manager.New(manager.Config{Store: w.store, Caller: w, Node: "edge-7"})
	w.must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	authority, err := apiserver.OpenAuthority(w.dir)
	w.must(err)
	api, err := apiserver.New(apiserver.Config{
		Store: w.store, Node: "edge-7", Cloud: w.mgr, Transport: manager.NewTransport(w, wire.Stream),
		Connected: func() (bool, time.Time) { info := w.mgr.Connection(); return info.Connected, info.Since },
		FollowLink: func(ctx context.Context, changed func(bool)) {
			for info := range w.mgr.Connections(ctx) {
				changed(info.Connected)
			}
		},
		Authority: authority, Dir: w.dir, Listen: netip.MustParseAddrPort(l.Addr().String()), Listener: l,
	})
	w.must(err)
	w.host = "https://" + l.Addr().String()
	for _, run := range []func(context.Context) error{w.mgr.Run, api.Run} {
		w.wg.Go(func() {
			if err := run(w.ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// Call asks the cloud; OpenStream opens a stream to it.
func (w *sitesWorld) Call(ctx context.Context, m hub.Message) (hub.Message, error) {
	if link := w.current(); link != nil {
		return link.Call(ctx, m)
	}
	return hub.Message{}, hub.ErrOffline
}

func (w *sitesWorld) OpenStream(ctx context.Context, m hub.Message) (hub.Stream, error) {
	if link := w.current(); link != nil {
		return link.OpenStream(ctx, m)
	}
	return nil, hub.ErrOffline
}

func (w *sitesWorld) current() *hub.Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link
}

func (w *sitesWorld) connect() {
	w.t.Helper()
	up := make(chan struct{})
	once := sync.OnceFunc(func() { close(up) })
	link, err := hub.NewClient(hub.ClientConfig{
		Dialer: w.net.Dialer("edge-7"), Node: "edge-7", Capabilities: []string{wire.Access, wire.Synced},
		Down: w.mgr.Down(), Up: w.mgr.StateOutbox(), Outbox: w.mgr.EventOutbox(),
		Backoff: hub.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond},
		Connected: []func(hub.Info){func(info hub.Info) {
			if err := w.mgr.NodeConnection(w.ctx, info); err != nil && w.ctx.Err() == nil {
				w.t.Error(err)
			}
			if info.Connected {
				once()
			}
		}},
	})
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if err := link.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	w.mu.Lock()
	w.link, w.cut = link, func() { cancel(); running.Wait() }
	w.mu.Unlock()
	select {
	case <-up:
	case <-time.After(time.Minute):
		w.t.Fatal("the node does not connect")
	}
}

// disconnect cuts the link; the node knows it when this returns.
func (w *sitesWorld) disconnect() {
	w.mu.Lock()
	cut := w.cut
	w.link, w.cut = nil, nil
	w.mu.Unlock()
	if cut != nil {
		cut()
	}
}

// eventually waits until f finds nothing wrong.
func (w *sitesWorld) eventually(what string, f func() string) {
	w.t.Helper()
	wrong := ""
	err := wait.PollUntilContextTimeout(w.t.Context(), 50*time.Millisecond, 90*time.Second, true, func(context.Context) (bool, error) {
		wrong = f()
		return wrong == "", nil
	})
	if err != nil {
		w.t.Fatalf("%s: %s", what, wrong)
	}
}

// apply makes or changes a cluster-scoped object.
func (w *sitesWorld) apply(gvr schema.GroupVersionResource, text string) {
	w.t.Helper()
	u := &unstructured.Unstructured{}
	w.must(yaml.Unmarshal([]byte(text), &u.Object))
	_, err := w.dyn.Resource(gvr).Apply(w.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
	w.must(err)
}

func (w *sitesWorld) recipe(namespace, name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "factory.example.com/v1", "kind": "Recipe", "metadata": map[string]any{"namespace": namespace, "name": name},
		"spec": map[string]any{"text": "flour and water"},
	}}
}

func (w *sitesWorld) create(namespace, name string) {
	w.t.Helper()
	w.eventually("create "+name, func() string {
		_, err := w.dyn.Resource(recipesGVR).Namespace(namespace).Create(w.t.Context(), w.recipe(namespace, name), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err.Error()
		}
		return ""
	})
}

// ready waits until the condition Ready of the EdgeSync has a reason; it returns the message.
func (w *sitesWorld) ready(reason string) (message string) {
	w.t.Helper()
	w.eventually("the EdgeSync", func() string {
		u, err := w.dyn.Resource(syncsGVR).Get(w.t.Context(), "recipes", metav1.GetOptions{})
		if err != nil {
			return err.Error()
		}
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		for _, c := range conditions {
			if m, ok := c.(map[string]any); ok && m["type"] == v1alpha1.ConditionReady && m["reason"] == reason {
				message = fmt.Sprint(m["message"])
				return ""
			}
		}
		return fmt.Sprintf("%v, want %s", u.Object["status"], reason)
	})
	return message
}

// held returns the names of the recipes that the node has stored.
func (w *sitesWorld) held() []string {
	w.t.Helper()
	records, _, err := w.store.List(w.t.Context(), meta.Down+wire.SyncedResource("factory.example.com", "v1", "recipes")+"/")
	w.must(err)
	var names []string
	for _, r := range records {
		if key, ok := meta.ParsePath(strings.TrimPrefix(r.Key, meta.Down)); ok {
			names = append(names, key.Namespace+"/"+key.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *sitesWorld) holds(what, want string) {
	w.t.Helper()
	w.eventually(what, func() string {
		if got := strings.Join(w.held(), " "); got != want {
			return fmt.Sprintf("the node holds %q, want %q", got, want)
		}
		return ""
	})
}

// pod makes a pod on the node with an account of its own, and returns a client of it at the node's API.
func (w *sitesWorld) pod(name string) *rest.Config {
	w.t.Helper()
	core := w.admin.CoreV1()
	_, err := core.ServiceAccounts("plant").Create(w.t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	w.must(err)
	pod, err := core.Pods("plant").Create(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{
		NodeName: "edge-7", ServiceAccountName: name, Containers: []corev1.Container{{Name: "c", Image: "i"}},
	}}, metav1.CreateOptions{})
	w.must(err)
	token, err := core.ServiceAccounts("plant").CreateToken(w.t.Context(), name, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: name, UID: pod.UID},
	}}, metav1.CreateOptions{})
	w.must(err)
	w.eventually("the pod reaches the node", func() string {
		if _, err := w.store.Get(w.t.Context(), meta.Down+meta.Key{Resource: "pods", Namespace: "plant", Name: name}.Path()); err != nil {
			return err.Error()
		}
		return ""
	})
	return &rest.Config{Host: w.host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
}

func (w *sitesWorld) dynamic(cfg *rest.Config) dynamic.Interface {
	w.t.Helper()
	hc, err := rest.HTTPClientFor(cfg)
	w.must(err)
	w.t.Cleanup(hc.CloseIdleConnections)
	client, err := dynamic.NewForConfigAndClient(cfg, hc)
	w.must(err)
	return client
}

const recipesSync = `
apiVersion: sites.edgekit.io/v1alpha1
kind: EdgeSync
metadata: {name: recipes}
spec:
  resource: {group: factory.example.com, version: v1, resource: recipes}
  namespaces: [plant]
  nodeSelector: {matchLabels: {site: "7"}}
  limit: {objects: %d}
`

// TestSites goes the whole way: an EdgeSync before its CRD and without the right, the right as the
// condition says it, pods of the node that read and watch offline, a time away, too many objects, many
// objects (OBJECTS, 300), and the end of the CRD.
func TestSites(t *testing.T) {
	w := newSitesWorld(t)
	for _, name := range []string{"plant", "other"} {
		_, err := w.admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		w.must(err)
	}
	reader, stranger := w.pod("reader"), w.pod("stranger")
	w.allow("reader")

	w.apply(syncsGVR, fmt.Sprintf(recipesSync, 1000))
	w.ready(v1alpha1.ReasonNotServed)
	w.apply(crdsGVR, recipeCRD)
	w.create("plant", "bread")
	w.create("plant", "cake")
	w.create("other", "pie")
	message := w.ready(v1alpha1.ReasonForbidden)
	w.holds("without the right", "")
	_, role, _ := strings.Cut(message, "Apply:\n")
	w.apply(rbacv1.SchemeGroupVersion.WithResource("clusterroles"), role)
	w.ready(v1alpha1.ReasonSynced)
	w.holds("with the right", "plant/bread plant/cake")
	w.must(meta.MarkSynced(t.Context(), w.store)) // as edgecore does when it holds all

	t.Run("online", func(*testing.T) { w.online(reader) })
	w.disconnect()
	t.Run("offline", func(t *testing.T) { w.offline(t, reader, stranger) })
	t.Run("kubectl", w.kubectl)
	t.Run("a time away", func(*testing.T) { w.away(reader) })
	t.Run("limits", func(*testing.T) { w.limits() })
	t.Run("many objects", w.many)
	t.Run("the CRD goes", func(*testing.T) { w.end(reader) })
}

// allow lets an account of namespace plant read recipes there.
func (w *sitesWorld) allow(account string) {
	w.t.Helper()
	rbac := w.admin.RbacV1()
	_, err := rbac.Roles("plant").Create(w.t.Context(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: account},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{"factory.example.com"}, Resources: []string{"recipes"}, Verbs: []string{"get", "list", "watch"}}}}, metav1.CreateOptions{})
	w.must(err)
	_, err = rbac.RoleBindings("plant").Create(w.t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: account},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: account},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "plant", Name: account}}}, metav1.CreateOptions{})
	w.must(err)
}

func (w *sitesWorld) names(cfg *rest.Config) string {
	list, err := w.dynamic(cfg).Resource(recipesGVR).Namespace("plant").List(w.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, u := range list.Items {
		names = append(names, u.GetName())
	}
	return strings.Join(names, " ")
}

func (w *sitesWorld) online(reader *rest.Config) {
	w.eventually("a list while online", func() string {
		if got := w.names(reader); got != "bread cake" {
			return got
		}
		return ""
	})
	// The rules that let the pod read have come to the node too.
	w.eventually("the rules", func() string {
		if _, err := w.store.Get(w.t.Context(), meta.Down+meta.Key{Resource: "roles", Namespace: "plant", Name: "reader"}.Path()); err != nil {
			return err.Error()
		}
		return ""
	})
}

func (w *sitesWorld) offline(t *testing.T, reader, stranger *rest.Config) {
	if got := w.names(reader); got != "bread cake" {
		t.Errorf("a list: %s", got)
	}
	recipes := w.dynamic(reader).Resource(recipesGVR)
	u, err := recipes.Namespace("plant").Get(t.Context(), "bread", metav1.GetOptions{})
	if text, _, _ := unstructured.NestedString(u.Object, "spec", "text"); err != nil || text != "flour and water" {
		t.Errorf("one object: %v, %v", u, err)
	}
	if _, err := recipes.Namespace("plant").Get(t.Context(), "none", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("one that does not exist: %v", err)
	}
	if _, err := recipes.Namespace("other").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another namespace: %v", err)
	}
	if _, err := w.dynamic(stranger).Resource(recipesGVR).Namespace("plant").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a pod without the right: %v", err)
	}
	if _, err := recipes.Namespace("plant").Create(t.Context(), w.recipe("plant", "new"), metav1.CreateOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a write: %v", err)
	}
}

// kubectl reads with a stock kubectl, as the node's administrator.
func (w *sitesWorld) kubectl(t *testing.T) {
	kubeconfig := filepath.Join(w.dir, apiserver.KubeconfigName)
	for want, args := range map[string][]string{
		"recipe.factory.example.com/bread": {"get", "recipes", "-n", "plant", "-o", "name"},
		"flour and water":                  {"get", "rcp/bread", "-n", "plant", "-o", "yaml"},
		"recipes ":                         {"api-resources", "--api-group=factory.example.com"},
		"NAMESPACE":                        {"get", "rcp", "-A"},
		"NotFound":                         {"get", "rcp", "none", "-n", "plant"},
	} {
		out, err := apiservertest.Kubectl(t, kubeconfig, args...)
		if !strings.Contains(out, want) {
			t.Errorf("kubectl %v: %v %s", args, err, out)
		}
	}
}

// away has an informer of a pod follow the recipes over a time without a link, in which they change, and
// cloudcore is started anew.
func (w *sitesWorld) away(reader *rest.Config) {
	factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(w.dynamic(reader), 0, "plant", nil)
	informer := factory.ForResource(recipesGVR).Informer()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer factory.Shutdown()
	defer cancel()
	factory.Start(ctx.Done())
	if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		w.t.Fatal("the informer is not filled offline")
	}
	sees := func(what, want string) {
		w.t.Helper()
		w.eventually(what, func() string {
			keys := informer.GetStore().ListKeys()
			slices.Sort(keys)
			if got := strings.Join(keys, " "); got != want {
				return fmt.Sprintf("the pod sees %q, want %q", got, want)
			}
			return ""
		})
	}
	sees("offline", "plant/bread plant/cake")
	w.must(w.dyn.Resource(recipesGVR).Namespace("plant").Delete(w.t.Context(), "bread", metav1.DeleteOptions{}))
	w.create("plant", "tart")
	w.halt()
	w.startCloud("two")
	w.connect()
	w.holds("back again", "plant/cake plant/tart")
	sees("back again", "plant/cake plant/tart")
	w.disconnect()
	if got := w.names(reader); got != "cake tart" {
		w.t.Errorf("offline again: %s", got)
	}
	w.connect()
	// A label that another takes away, and gives back.
	w.label(`{"metadata":{"labels":{"site":"8"}}}`)
	w.holds("without the label", "")
	w.label(`{"metadata":{"labels":{"site":"7"}}}`)
	w.holds("with the label", "plant/cake plant/tart")
}

func (w *sitesWorld) label(patch string) {
	w.t.Helper()
	_, err := w.admin.CoreV1().Nodes().Patch(w.t.Context(), "edge-7", "application/merge-patch+json", []byte(patch), metav1.PatchOptions{})
	w.must(err)
}

func (w *sitesWorld) limits() {
	w.apply(syncsGVR, fmt.Sprintf(recipesSync, 1))
	w.ready(v1alpha1.ReasonLimitExceeded)
	w.holds("the limit", "plant/cake")
	u := &unstructured.Unstructured{}
	w.must(yaml.Unmarshal(fmt.Appendf(nil, strings.Replace(recipesSync, "resource: recipes", "resource: others", 1), 1), &u.Object))
	if _, err := w.dyn.Resource(syncsGVR).Apply(w.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubectl", Force: true}); !apierrors.IsInvalid(err) {
		w.t.Errorf("another resource: %v", err)
	}
	for field, change := range map[string][2]string{
		"nodeSelector": {"nodeSelector: {matchLabels: {site: \"7\"}}", "nodeGroups: []"},
		"objects":      {"objects: %d", "objects: 3000%d"},
		"namespaces":   {"[plant]", "[../plant]"},
		"resource":     {"resource: recipes}", "resource: recipes/status}"},
	} {
		text := strings.Replace(strings.Replace(recipesSync, "{name: recipes}", "{name: bad}", 1), change[0], change[1], 1)
		u := &unstructured.Unstructured{}
		w.must(yaml.Unmarshal(fmt.Appendf(nil, text, 9), &u.Object))
		if _, err := w.dyn.Resource(syncsGVR).Create(w.t.Context(), u, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			w.t.Errorf("bad %s: %v", field, err)
		}
	}
}

// many creates objects until there are OBJECTS of them, and waits until the node holds all.
func (w *sitesWorld) many(t *testing.T) {
	n := 300
	if text := os.Getenv("OBJECTS"); text != "" {
		var err error
		n, err = strconv.Atoi(text)
		w.must(err)
	}
	w.apply(syncsGVR, fmt.Sprintf(recipesSync, n))
	w.ready(v1alpha1.ReasonSynced)
	began := time.Now()
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			for i := worker; i < n-2; i += 32 {
				if _, err := w.dyn.Resource(recipesGVR).Namespace("plant").Create(t.Context(), w.recipe("plant", fmt.Sprintf("r%05d", i)), metav1.CreateOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	made := time.Now()
	w.eventually("all objects", func() string {
		if got := len(w.held()); got != n {
			return fmt.Sprintf("the node holds %d", got)
		}
		return ""
	})
	t.Logf("%d objects created in %s, at the node %s later", n, made.Sub(began).Round(time.Millisecond), time.Since(made).Round(time.Millisecond))
	w.ready(v1alpha1.ReasonSynced)
}

func (w *sitesWorld) end(reader *rest.Config) {
	watching, err := w.dynamic(reader).Resource(recipesGVR).Namespace("plant").Watch(w.t.Context(), metav1.ListOptions{})
	w.must(err)
	defer watching.Stop()
	if e := <-watching.ResultChan(); e.Type != watch.Added {
		w.t.Errorf("a watch: %+v", e)
	}
	w.must(w.dyn.Resource(crdsGVR).Delete(w.t.Context(), "recipes.factory.example.com", metav1.DeleteOptions{}))
	w.holds("no CRD", "")
	w.ready(v1alpha1.ReasonNotServed)
	w.eventually("the node's API", func() string {
		records, _, err := w.store.List(w.t.Context(), meta.Down+wire.EdgeSyncsResource+"/")
		if err != nil || len(records) > 0 {
			return fmt.Sprintf("%d EdgeSyncs, %v", len(records), err)
		}
		return ""
	})
	w.disconnect()
	var status apierrors.APIStatus
	if _, err := w.dynamic(reader).Resource(recipesGVR).Namespace("plant").List(w.t.Context(), metav1.ListOptions{}); !errors.As(err, &status) || status.Status().Code != http.StatusServiceUnavailable {
		w.t.Errorf("a list without the CRD: %v", err)
	}
}
