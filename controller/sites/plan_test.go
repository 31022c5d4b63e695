package sites

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// edgeSync is an EdgeSync of recipes for all nodes.
func edgeSync(name string, change func(*v1alpha1.EdgeSync)) *v1alpha1.EdgeSync {
	s := &v1alpha1.EdgeSync{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.KindEdgeSync},
		ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), ResourceVersion: "1", Generation: 1},
		Spec: v1alpha1.EdgeSyncSpec{
			Resource:     v1alpha1.Resource{Group: "factory.example.com", Version: "v1", Resource: "recipes"},
			NodeSelector: &metav1.LabelSelector{}, Limit: v1alpha1.Limit{Objects: 1000},
		},
	}
	if change != nil {
		change(s)
	}
	return s
}

func served(s *v1alpha1.EdgeSync) *v1alpha1.EdgeSync {
	s.Status.Names = &v1alpha1.Names{Kind: "Recipe", Namespaced: true}
	return s
}

func TestPlanProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.EdgeSync)
		want   string // "reason: part of the message"
	}{
		"good": {nil, ""},
		"claims": {func(s *v1alpha1.EdgeSync) {
			s.Spec.Resource = v1alpha1.Resource{Version: "v1", Resource: "persistentvolumeclaims"}
		}, ""},
		"device statuses": {func(s *v1alpha1.EdgeSync) {
			s.Spec.Resource = v1alpha1.Resource{Group: "devices.kubeedge.io", Version: "v1beta1", Resource: "devicestatuses"}
		}, ""},
		"secrets":          {func(s *v1alpha1.EdgeSync) { s.Spec.Resource = v1alpha1.Resource{Version: "v1", Resource: "secrets"} }, "NotAllowed: credentials"},
		"config maps":      {func(s *v1alpha1.EdgeSync) { s.Spec.Resource = v1alpha1.Resource{Version: "v1", Resource: "configmaps"} }, "NotAllowed: in any case"},
		"roles":            {func(s *v1alpha1.EdgeSync) { s.Spec.Resource.Group = "rbac.authorization.k8s.io" }, "NotAllowed: in any case"},
		"devices":          {func(s *v1alpha1.EdgeSync) { s.Spec.Resource.Group = "devices.kubeedge.io" }, "NotAllowed: in any case"},
		"EdgeSyncs":        {func(s *v1alpha1.EdgeSync) { s.Spec.Resource.Group = v1alpha1.Group }, "NotAllowed: in any case"},
		"a subresource":    {func(s *v1alpha1.EdgeSync) { s.Spec.Resource.Resource = "recipes/status" }, "Invalid: plural name"},
		"no nodes":         {func(s *v1alpha1.EdgeSync) { s.Spec.NodeSelector = nil }, "Invalid: exactly one"},
		"both":             {func(s *v1alpha1.EdgeSync) { s.Spec.NodeGroups = []v1alpha1.NodeGroup{"a"} }, "Invalid: exactly one"},
		"bad labels":       {func(s *v1alpha1.EdgeSync) { s.Spec.LabelSelector = badSelector() }, "Invalid: spec.labelSelector"},
		"bad node labels":  {func(s *v1alpha1.EdgeSync) { s.Spec.NodeSelector = badSelector() }, "Invalid: spec.nodeSelector"},
		"many bytes":       {func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Bytes = new(resource.MustParse("257Mi")) }, "Invalid: 256Mi"},
		"negative bytes":   {func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Bytes = new(resource.MustParse("-1")) }, "Invalid: above 0"},
		"negative objects": {func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Objects = -1 }, "Invalid: negative"},
		"namespaces of a cluster-scoped resource": {func(s *v1alpha1.EdgeSync) {
			s.Spec.Namespaces = []v1alpha1.Namespace{"a"}
			s.Status.Names = &v1alpha1.Names{Kind: "Recipe"}
		}, "Invalid: no namespace"},
	} {
		p := newPlan(edgeSync("a", tt.change), "1")
		got := ""
		if p.problem != nil {
			got = p.problem.reason + ": " + p.problem.message
		}
		reason, part, _ := strings.Cut(tt.want, ": ")
		if (got == "") != (tt.want == "") || !strings.HasPrefix(got, reason) || !strings.Contains(got, part) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func badSelector() *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Near"}}}
}

func TestChoose(t *testing.T) {
	at := func(minute int) func(*v1alpha1.EdgeSync) {
		return func(s *v1alpha1.EdgeSync) {
			s.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC))
		}
	}
	with := func(name string, minute int, change func(*v1alpha1.EdgeSync)) *plan {
		s := served(edgeSync(name, at(minute)))
		if change != nil {
			change(s)
		}
		return newPlan(s, "1")
	}
	objects := func(n int32) func(*v1alpha1.EdgeSync) {
		return func(s *v1alpha1.EdgeSync) { s.Spec.Limit.Objects = n }
	}
	plans := arrange([]*plan{
		with("new", 50, objects(20_000)), with("b", 3, objects(20_000)), with("a", 3, objects(20_000)),
		with("group", 1, func(s *v1alpha1.EdgeSync) {
			s.Spec.NodeSelector, s.Spec.NodeGroups = nil, []v1alpha1.NodeGroup{"north", "west"}
		}),
		with("label", 2, func(s *v1alpha1.EdgeSync) { s.Spec.NodeSelector.MatchLabels = map[string]string{"site": "7"} }),
		with("gone", 0, func(s *v1alpha1.EdgeSync) { s.Status.Names = nil }),
		with("bytes", 60, func(s *v1alpha1.EdgeSync) {
			s.Spec.Limit = v1alpha1.Limit{Objects: 1, Bytes: new(resource.MustParse("256Mi"))}
		}),
		with("more bytes", 61, func(s *v1alpha1.EdgeSync) {
			s.Spec.Limit = v1alpha1.Limit{Objects: 1, Bytes: new(resource.MustParse("256Mi"))}
		}),
	})
	show := func(all []*plan) string {
		var names []string
		for _, p := range all {
			names = append(names, p.sync.Name)
		}
		return fmt.Sprint(names)
	}
	for _, tt := range []struct {
		labels     labels.Set
		held, full string
	}{
		{nil, "[a b bytes]", "[new more bytes]"},
		{labels.Set{wire.GroupLabel: "west", "site": "7"}, "[group label a b bytes]", "[new more bytes]"},
		{labels.Set{wire.GroupLabel: "south"}, "[a b bytes]", "[new more bytes]"},
	} {
		held, full := choose(tt.labels, plans)
		if show(held) != tt.held || show(full) != tt.full {
			t.Errorf("%v: %s and %s, want %s and %s", tt.labels, show(held), show(full), tt.held, tt.full)
		}
	}
	var many []*plan
	for i := range maxSyncs + 1 {
		many = append(many, with(fmt.Sprintf("s%04d", i), 0, objects(1)))
	}
	many = arrange(many)
	if many[maxSyncs-1].problem != nil || many[maxSyncs].problem == nil || many[maxSyncs].problem.reason != v1alpha1.ReasonTooMany {
		t.Errorf("the one too many: %+v", many[maxSyncs].problem)
	}
	many = arrange(many[1:]) // somebody deletes one
	if p := many[maxSyncs-1]; p.problem != nil || p.sync.Name != "s1000" {
		t.Errorf("%s, no longer too many: %+v", p.sync.Name, p.problem)
	}
	if held, full := choose(nil, many[:30]); len(held) != 30 || len(full) != 0 {
		t.Errorf("%d held", len(held))
	}
}

// TestAttackPageSize: a list request asks for less the larger the objects are.
func TestAttackPageSize(t *testing.T) {
	for _, tt := range []struct {
		objects int
		bytes   int64
		want    int64
	}{
		{0, 0, firstPage}, {50, 50 * 400, page}, {50, 50 * 32 << 10, 256}, {50, 50 * 1 << 20, 8}, {1, 16 << 20, 1},
	} {
		if got := pageSize(tt.objects, tt.bytes); got != tt.want {
			t.Errorf("after %d objects of %d bytes: %d, want %d", tt.objects, tt.bytes, got, tt.want)
		}
	}
}
