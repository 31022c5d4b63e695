package nodeapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// running has functions run until the test ends, or stop is called.
type running struct {
	ctx  context.Context
	stop func()
	wg   sync.WaitGroup
}

func newRunning(t *testing.T) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{ctx: ctx}
	r.stop = func() { cancel(); r.wg.Wait() }
	t.Cleanup(r.stop)
	return r
}

func keys(i cache.SharedIndexInformer) string {
	all := i.GetStore().ListKeys()
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestOperator has the shape of an operator from a Helm chart: a Lease that makes it the leader, and
// informers over many kinds, its own among them. It sees all of the cluster online, its cache of what
// the node does not hold stays while the link is cut, and it misses nothing when the link is back.
func TestOperator(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.allow([]string{""}, "configmaps", "pods", "secrets")
	s.putLocal("configmaps", "shop", "mine", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "mine", "resourceVersion": "101"}})
	s.up.put("/api/v1/configmaps", "shop", "mine", nil)
	s.up.put("/api/v1/configmaps", "far", "theirs", nil)
	s.up.put("/apis/apps/v1/deployments", "shop", "d", nil)
	s.up.put("/apis/example.com/v1/widgets", "shop", "w", nil)
	kube, err := kubernetes.NewForConfig(s.config())
	must(t, err)
	dyn, err := dynamic.NewForConfig(s.config())
	must(t, err)
	run := newRunning(t)

	var leads atomic.Bool
	lost := make(chan struct{})
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{LeaseMeta: metav1.ObjectMeta{Namespace: "shop", Name: "operator"}, Client: kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: "web"}},
		LeaseDuration: 3 * time.Second, RenewDeadline: 2 * time.Second, RetryPeriod: 200 * time.Millisecond,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leads.Store(true) }, OnStoppedLeading: func() { leads.Store(false); close(lost) },
		},
	})
	must(t, err)
	run.wg.Go(func() { elector.Run(run.ctx) })

	typed := informers.NewSharedInformerFactory(kube, 0)
	maps, deployments := typed.Core().V1().ConfigMaps().Informer(), typed.Apps().V1().Deployments().Informer()
	own := dynamicinformer.NewDynamicSharedInformerFactory(dyn, 0)
	widgets := own.ForResource(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}).Informer()
	typed.StartWithContext(run.ctx)
	own.Start(run.ctx.Done())
	defer own.Shutdown()
	defer typed.Shutdown()
	defer run.stop()
	sees := func(i cache.SharedIndexInformer, want string) {
		t.Helper()
		s.until(want+" is seen", func() bool { return keys(i) == want })
	}
	sees(maps, "far/theirs shop/mine")
	sees(deployments, "shop/d")
	sees(widgets, "shop/w")
	s.until("it leads", leads.Load)

	s.disconnect()
	sees(maps, "shop/mine") // what the node holds; a header says that it is a part
	<-lost                  // as on any node that is cut off: another replica may lead
	if keys(deployments) != "shop/d" || keys(widgets) != "shop/w" {
		t.Errorf("offline the cache became %q, %q", keys(deployments), keys(widgets))
	}
	s.up.put("/apis/apps/v1/deployments", "shop", "new", nil)
	s.up.drop("/apis/example.com/v1/widgets", "shop", "w")
	s.up.put("/apis/example.com/v1/widgets", "shop", "v", nil)
	s.up.drop("/api/v1/configmaps", "far", "theirs")
	s.up.put("/api/v1/configmaps", "far", "others", nil)
	s.up.compact() // no watch can go on from before: lists are needed
	s.connect()
	sees(maps, "far/others shop/mine")
	sees(deployments, "shop/d shop/new")
	sees(widgets, "shop/v")
	s.up.put("/api/v1/configmaps", "far", "live", nil)
	sees(maps, "far/live far/others shop/mine")
}

// TestPrometheus has the shape of its service discovery: watches of nodes, Services, Endpoints,
// EndpointSlices and pods of all namespaces, and a scrape of the API server's /metrics.
func TestPrometheus(t *testing.T) {
	s := newInCluster(t, nil, nil)
	resources := []string{"/api/v1/nodes", "/api/v1/services", "/api/v1/endpoints", "/apis/discovery.k8s.io/v1/endpointslices", "/api/v1/pods"}
	for _, r := range resources {
		namespace := "shop"
		if r == "/api/v1/nodes" {
			namespace = ""
		}
		s.up.put(r, namespace, "one", nil)
		s.up.put(r, namespace, "two", nil)
	}
	kube, err := kubernetes.NewForConfig(s.config())
	must(t, err)
	run := newRunning(t)
	factory := informers.NewSharedInformerFactory(kube, 0)
	all := []cache.SharedIndexInformer{factory.Core().V1().Nodes().Informer(), factory.Core().V1().Services().Informer(),
		factory.Core().V1().Endpoints().Informer(), factory.Discovery().V1().EndpointSlices().Informer(), factory.Core().V1().Pods().Informer()}
	factory.StartWithContext(run.ctx)
	defer factory.Shutdown()
	defer run.stop()
	for i, informer := range all {
		s.until(fmt.Sprint(resources[i], " is seen"), func() bool { return len(informer.GetStore().ListKeys()) == 2 })
	}
	if text, err := kube.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context()); err != nil || !strings.Contains(string(text), "Whole") {
		t.Errorf("/metrics: %s %v", text, err)
	}
	if s := s.api.Stats(); s.Streams < 5 || s.Watches != 0 {
		t.Errorf("%+v", s)
	}
}

// TestMetricsServer has its shape: informers of nodes and of the pods' metadata, and reviews of
// those who ask it.
func TestMetricsServer(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.up.put("/api/v1/nodes", "", "gate-8", nil)
	s.up.put("/api/v1/pods", "far", "p", map[string]any{"spec": map[string]any{"nodeName": "gate-8"}})
	kube, err := kubernetes.NewForConfig(s.config())
	must(t, err)
	meta, err := metadata.NewForConfig(s.config())
	must(t, err)
	run := newRunning(t)
	nodes := informers.NewSharedInformerFactory(kube, 0)
	pods := metadatainformer.NewSharedInformerFactory(meta, 0)
	n, p := nodes.Core().V1().Nodes().Informer(), pods.ForResource(corev1.SchemeGroupVersion.WithResource("pods")).Informer()
	nodes.StartWithContext(run.ctx)
	pods.Start(run.ctx.Done())
	defer pods.Shutdown()
	defer nodes.Shutdown()
	defer run.stop()
	s.until("nodes and pods are seen", func() bool { return keys(n) == "gate-8" && keys(p) == "far/p" })
	review, err := kube.AuthenticationV1().TokenReviews().Create(t.Context(), &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: "x"}}, metav1.CreateOptions{})
	if err != nil || !review.Status.Authenticated {
		t.Errorf("TokenReview: %+v, %v", review, err)
	}
	access, err := kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{}, metav1.CreateOptions{})
	if err != nil || !access.Status.Allowed {
		t.Errorf("SubjectAccessReview: %+v, %v", access, err)
	}
	s.up.deny("system:serviceaccount:shop:clerk", "/api/v1/secrets")
	_, err = kube.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
	if err == nil || !strings.Contains(err.Error(), "by the API server") {
		t.Errorf("what the account may not read: %v", err)
	}
}
