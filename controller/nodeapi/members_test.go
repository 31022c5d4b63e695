package nodeapi

import (
	"context"
	"slices"
	"strings"
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

// TestMembersOfGroups: a node with all Services that asks gets the nodes of groups, with nothing
// but the group, and hears of changes; other nodes get none.
func TestMembersOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := func(name, group string) *corev1.Node {
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"secret": "x"}}}
			if group != "" {
				n.Labels[wire.GroupLabel] = group
			}
			return n
		}
		own := node("gate-7", "a")
		own.Labels[ServicesLabel] = ServicesAll
		kube := controllertest.NewClientset(own, node("n1", "a"), node("n2", ""))
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

		s := c.Source("gate-7", []string{wire.Services, wire.Groups})
		notified := make(chan hub.Key, 100)
		defer s.Subscribe(func(k hub.Key) { notified <- k })()
		held := func(s hub.Source) string {
			var all []string
			for _, k := range versions(t, s) {
				if rest, ok := strings.CutPrefix(k, wire.MembersResource+"//"); ok {
					name, _, _ := strings.Cut(rest, "@")
					all = append(all, name)
				}
			}
			slices.Sort(all)
			return strings.Join(all, " ")
		}
		if got := held(s); got != "gate-7 n1" {
			t.Errorf("members %q", got)
		}
		for _, other := range []hub.Source{c.Source("gate-7", []string{wire.Services}), c.Source("n1", []string{wire.Services, wire.Groups})} {
			if got := held(other); got != "" {
				t.Errorf("a node that does not ask, or may not, gets %q", got)
			}
		}
		key := func(name string) hub.Key { return hub.Key{Resource: wire.MembersResource, Name: name} }
		obj, err := s.Load(t.Context(), key("n1"), "")
		must(t, err)
		if text := string(obj.Body); !strings.Contains(text, `"apps.kubeedge.io/belonging-to":"a"`) || strings.Contains(text, "secret") {
			t.Errorf("n1 is %s", text)
		}
		for name, group := range map[string]string{"n1": "", "n2": "b"} {
			_, err := kube.CoreV1().Nodes().Update(t.Context(), node(name, group), metav1.UpdateOptions{})
			must(t, err)
		}
		synctest.Wait()
		var keys []string
		for len(notified) > 0 {
			if k := <-notified; k.Resource == wire.MembersResource {
				keys = append(keys, k.Name)
			}
		}
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != "n1 n2" {
			t.Errorf("notified of %q", got)
		}
		if obj, err := s.Load(t.Context(), key("n1"), obj.Version); err != nil || !obj.Deleted {
			t.Errorf("a node without a group: %+v, %v", obj, err)
		}
		if obj, err := s.Load(t.Context(), key("n2"), ""); err != nil || obj.Deleted {
			t.Errorf("a node that came into a group: %+v, %v", obj, err)
		}
	})
}
