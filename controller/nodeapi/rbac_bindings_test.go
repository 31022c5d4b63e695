package nodeapi

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/resources"
)

// TestAccessChanged: only the nodes that a change concerns are computed again, and hear of it.
func TestAccessChanged(t *testing.T) {
	kube := controllertest.NewClientset()
	who := &accounts{by: map[string]map[cache.Name]struct{}{
		"clerk": {{Namespace: "shop", Name: "clerk"}: {}}, "cook": {{Namespace: "kitchen", Name: "cook"}: {}},
	}}
	c, err := New(Config{Cloud: kube, NodeClient: kube, Accounts: who, Namespace: "edgekit-system"})
	must(t, err)
	heard := make(map[string][]string)
	for node := range who.by {
		defer c.Source(node, []string{wire.Access}).Subscribe(func(k hub.Key) { heard[node] = append(heard[node], k.String()) })()
	}
	binding := hub.Key{Resource: resources.RoleBindings, Namespace: "shop", Name: "b"}
	role := hub.Key{Resource: resources.Roles, Namespace: "shop", Name: "r"}
	bind := func(subjects ...rbacv1.Subject) func(*bindings) {
		return func(b *bindings) {
			b.remove(binding)
			if subjects != nil {
				b.add(binding, subjects, rbacv1.RoleRef{Kind: "Role", Name: "r"})
			}
		}
	}
	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for _, tt := range []struct {
		name         string
		key          hub.Key
		update       func(*bindings)
		asked, heard []string // nodes
	}{
		{"a role that nobody has", role, nil, nil, nil},
		{"a binding of nobody here", binding, bind(account("shop", "boss")), nil, nil},
		{"a binding of one", binding, bind(account("shop", "clerk")), []string{"clerk"}, []string{"clerk"}},
		{"its role", role, nil, nil, []string{"clerk"}},
		{"the Namespace of one", hub.Key{Resource: resources.Namespaces, Name: "kitchen"}, nil, nil, []string{"cook"}},
		{"the binding goes to the other", binding, bind(account("kitchen", "cook")), []string{"clerk", "cook"}, []string{"clerk", "cook"}},
		{"the binding of a group", binding, bind(rbacv1.Subject{Kind: "Group", Name: "system:serviceaccounts:shop"}), []string{"clerk", "cook"}, []string{"clerk", "cook"}},
		{"the binding is gone", binding, bind(), []string{"clerk"}, []string{"clerk"}},
		{"it is gone again", binding, bind(), nil, nil},
	} {
		who.asked = nil
		clear(heard)
		c.accessChanged(tt.key, tt.update)
		var got []string
		for node, keys := range heard {
			got = append(got, node)
			if !slices.Contains(keys, tt.key.String()) {
				t.Errorf("%s: %s heard of %v", tt.name, node, keys)
			}
		}
		slices.Sort(got)
		slices.Sort(who.asked)
		if !slices.Equal(got, tt.heard) || !slices.Equal(who.asked, tt.asked) {
			t.Errorf("%s: %v heard, %v were computed again; want %v and %v", tt.name, got, who.asked, tt.heard, tt.asked)
		}
	}
}

// TestStatusLabels: whatever status a service sends, there are few series; upgrades are counted.
func TestStatusLabels(t *testing.T) {
	m := newMetrics()
	for code := 600; code < 1000; code++ {
		(&counted{ResponseWriter: httptest.NewRecorder(), requests: m.requests}).WriteHeader(code)
	}
	(&counted{ResponseWriter: httptest.NewRecorder(), requests: m.requests}).WriteHeader(http.StatusOK)
	_, _, _ = (&counted{ResponseWriter: httptest.NewRecorder(), requests: m.requests}).Hijack() // a recorder has no connection
	if n := testutil.CollectAndCount(m, "cloudcore_nodeapi_requests_total"); n != 3 {
		t.Errorf("%d series", n)
	}
	if n := testutil.ToFloat64(m.requests.WithLabelValues("101")); n != 1 {
		t.Errorf("%v upgrades are counted", n)
	}
}
