package nodeapi

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// TestServicesOfMarkedNodes: a node asks for all Services. It gets them when an operator
// marks it, and loses them with the mark. Its annotations and other labels do not count.
func TestServicesOfMarkedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: "gate-7", Labels: map[string]string{"services": ServicesAll}, Annotations: map[string]string{ServicesLabel: ServicesAll},
		}}
		kube := controllertest.NewClientset(node.DeepCopy(),
			&corev1.Namespace{ObjectMeta: objectMeta("", "other", "2")},
			&corev1.Service{ObjectMeta: objectMeta("shop", "web", "9")},
		)
		nodes, err := cache.New(cache.Config[*corev1.Node]{Type: &corev1.Node{}, ListWatch: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return kube.CoreV1().Nodes().List(ctx, o)
			},
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return kube.CoreV1().Nodes().Watch(ctx, o)
			},
		}, kube)})
		must(t, err)
		c, err := New(Config{Cloud: kube, NodeClient: kube, Accounts: &accounts{}, Namespace: "edgekit-system", Nodes: nodes})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 2)
		go func() { done <- nodes.Run(ctx) }()
		go func() { done <- c.Run(ctx) }()
		defer func() { cancel(); must(t, <-done); must(t, <-done) }()
		synctest.Wait()

		s := c.Source("gate-7", []string{wire.Services})
		notified := make(chan hub.Key, 100)
		defer s.Subscribe(func(k hub.Key) { notified <- k })()
		keys := func() []string {
			synctest.Wait()
			var all []string
			for len(notified) > 0 {
				all = append(all, (<-notified).String())
			}
			slices.Sort(all)
			return slices.Compact(all)
		}
		web := hub.Key{Resource: "services", Namespace: "shop", Name: "web"}
		has := func(when string, want bool) {
			t.Helper()
			got := keys()
			if wantKeys := []string{"namespaces//other", "services/shop/web"}; !slices.Equal(got, wantKeys) {
				t.Errorf("%s: told of %v", when, got)
			}
			if obj, err := s.Load(t.Context(), web, ""); err != nil || obj.Deleted == want {
				t.Errorf("%s: %+v, %v", when, obj, err)
			}
		}
		if got := versions(t, s); len(got) != 0 || len(keys()) != 0 {
			t.Errorf("a node that nobody marked gets %v", got)
		}
		if obj, err := s.Load(t.Context(), web, ""); err != nil || !obj.Deleted {
			t.Errorf("a node that nobody marked gets %+v, %v", obj, err)
		}
		node.Labels[ServicesLabel] = ServicesAll
		_, err = kube.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
		must(t, err)
		has("marked", true)
		delete(node.Labels, ServicesLabel)
		_, err = kube.CoreV1().Nodes().Update(t.Context(), node, metav1.UpdateOptions{})
		must(t, err)
		has("the mark is gone", false)
	})
	if _, err := New(Config{Cloud: controllertest.NewClientset(), NodeClient: controllertest.NewClientset(), Accounts: &accounts{}, Services: "some"}); err == nil {
		t.Error("any word was taken")
	}
}
