package groups

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

func testNode(name string, labels map[string]string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// testGroup makes a group of an age in hours.
func testGroup(name string, age int, match map[string]string, nodes ...v1alpha1.NodeName) *v1alpha1.NodeGroup {
	born := metav1.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC).Add(-time.Duration(age) * time.Hour))
	return &v1alpha1.NodeGroup{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: born, Generation: 1},
		Spec:       v1alpha1.NodeGroupSpec{Nodes: nodes, MatchLabels: match},
	}
}

func TestAssign(t *testing.T) {
	site := func(s string) map[string]string { return map[string]string{"site": s, "arch": "arm"} }
	nodes := []*corev1.Node{testNode("n1", site("a")), testNode("n2", site("a")), testNode("n3", site("b")), testNode("n4", nil)}
	gone := testGroup("gone", 9, nil, "n1")
	gone.DeletionTimestamp = new(metav1.Now())
	for name, c := range map[string]struct {
		groups []*v1alpha1.NodeGroup
		want   string // node=group
		lost   string // group:node/other
	}{
		"by name and label":                     {[]*v1alpha1.NodeGroup{testGroup("a", 1, map[string]string{"site": "a"}, "n4", "n4")}, "n1=a n2=a n4=a", ""},
		"all labels are needed":                 {[]*v1alpha1.NodeGroup{testGroup("a", 1, map[string]string{"site": "b", "arch": "x"})}, "", ""},
		"no labels match none":                  {[]*v1alpha1.NodeGroup{testGroup("a", 1, nil), testGroup("b", 1, map[string]string{})}, "", ""},
		"the older has it":                      {[]*v1alpha1.NodeGroup{testGroup("young", 1, nil, "n1"), testGroup("old", 2, map[string]string{"site": "a"})}, "n1=old n2=old", "young:n1/old"},
		"of one age the name decides":           {[]*v1alpha1.NodeGroup{testGroup("b", 1, nil, "n1"), testGroup("a", 1, nil, "n1")}, "n1=a", "b:n1/a"},
		"a node that is not there":              {[]*v1alpha1.NodeGroup{testGroup("a", 1, nil, "n9")}, "", "a:n9/"},
		"a group that is deleted wants none":    {[]*v1alpha1.NodeGroup{gone, testGroup("a", 1, nil, "n1")}, "n1=a", ""},
		"a label's value that no node has":      {[]*v1alpha1.NodeGroup{testGroup("a", 1, map[string]string{"site": ""})}, "", ""},
		"a third has neither of two that clash": {[]*v1alpha1.NodeGroup{testGroup("a", 3, nil, "n1"), testGroup("b", 2, nil, "n1"), testGroup("c", 1, nil, "n1", "n3")}, "n1=a n3=c", "b:n1/a c:n1/a"},
	} {
		t.Run(name, func(t *testing.T) {
			a := assign(c.groups, nodes)
			var have, lost []string
			for _, n := range nodes {
				if g := a.of[n.Name]; g != nil {
					have = append(have, n.Name+"="+g.Name)
				}
			}
			for _, g := range []string{"a", "b", "c", "old", "young", "gone"} {
				for _, l := range a.lost[g] {
					lost = append(lost, g+":"+l.node+"/"+l.other)
				}
			}
			if got := strings.Join(have, " "); got != c.want {
				t.Errorf("assigned %q, want %q", got, c.want)
			}
			if got := strings.Join(lost, " "); got != c.lost {
				t.Errorf("lost %q, want %q", got, c.lost)
			}
		})
	}
}

func TestGroupStatusIsBounded(t *testing.T) {
	g := testGroup("a", 1, map[string]string{"x": "y"})
	byName := make(map[string]*corev1.Node)
	var nodes []*corev1.Node
	for i := range 3000 {
		n := testNode(fmt.Sprintf("n%04d", i), map[string]string{"x": "y"})
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		nodes, byName[n.Name] = append(nodes, n), n
		g.Spec.Nodes = append(g.Spec.Nodes, v1alpha1.NodeName(fmt.Sprintf("none%04d", i)))
	}
	old := testGroup("old", 2, nil, "n0001", "n0002", "n0003", "n0004", "n0005", "n0006", "n0007")
	a := assign([]*v1alpha1.NodeGroup{g, old}, nodes)
	st := groupStatus(g, a, byName)
	if len(st.NodeStatuses) != maxNodeStatuses || st.Nodes.Total != 2993 || st.Nodes.Ready != 2993 || st.Nodes.Failed != 3007 {
		t.Errorf("%d statuses, %+v", len(st.NodeStatuses), st.Nodes)
	}
	if c := st.Conditions[0]; c.Status != metav1.ConditionTrue || len(c.Message) > maxMessage || !strings.HasSuffix(c.Message, "and 2 more") {
		t.Errorf("%+v", c)
	}
}

func TestLabelsSettled(t *testing.T) {
	with := func(group, zone string) *corev1.Node {
		n := testNode("n", map[string]string{})
		if group != "" {
			n.Labels[v1alpha1.BelongingToLabel] = group
		}
		if zone != "" {
			n.Labels[corev1.LabelTopologyZone] = zone
		}
		return n
	}
	for _, c := range []struct {
		want          labels
		node          *corev1.Node
		settled, zone bool
	}{
		{labels{}, with("", ""), true, false},
		{labels{}, with("a", ""), false, false},
		{labels{group: "a"}, with("a", ""), true, false},
		{labels{group: "a"}, with("a", "a"), true, true},
		{labels{group: "a"}, with("a", "mine"), true, false},
		{labels{group: "a", zone: true}, with("a", ""), false, false},
		{labels{group: "a", zone: true}, with("a", "mine"), true, false},
		{labels{group: "b", zone: true}, with("a", "a"), false, false},
	} {
		if got, zone := c.want.settled(c.node), c.want.mayHoldZone(c.node); got != c.settled || zone != c.zone {
			t.Errorf("%+v of %v: settled %t, may hold the zone %t", c.want, c.node.Labels, got, zone)
		}
	}
}

func TestNeedsGroup(t *testing.T) {
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{NodeSelector: map[string]string{v1alpha1.BelongingToLabel: "a"}}}
		change(p)
		return p
	}
	for name, c := range map[string]struct {
		pod  *corev1.Pod
		want bool
	}{
		"of the group":     {pod(func(*corev1.Pod) {}), true},
		"of another group": {pod(func(p *corev1.Pod) { p.Spec.NodeSelector[v1alpha1.BelongingToLabel] = "b" }), false},
		"of no group":      {pod(func(p *corev1.Pod) { p.Spec.NodeSelector = nil }), false},
		"on its way out":   {pod(func(p *corev1.Pod) { p.DeletionTimestamp = new(metav1.Now()) }), false},
		"done":             {pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), false},
		"static":           {pod(func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), false},
	} {
		if got := needsGroup(c.pod, []string{"a"}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// BenchmarkAssign looks at 10,000 nodes in 100 groups, with their statuses.
func BenchmarkAssign(b *testing.B) {
	var nodes []*corev1.Node
	byName := make(map[string]*corev1.Node)
	for i := range 10_000 {
		n := testNode(fmt.Sprintf("n%05d", i), map[string]string{"site": fmt.Sprint(i % 100), "arch": "arm64", "kubernetes.io/hostname": fmt.Sprint(i)})
		nodes, byName[n.Name] = append(nodes, n), n
	}
	var groups []*v1alpha1.NodeGroup
	for i := range 100 {
		groups = append(groups, testGroup(fmt.Sprintf("g%02d", i), i, map[string]string{"site": fmt.Sprint(i), "arch": "arm64"}))
	}
	b.ReportAllocs()
	for b.Loop() {
		a := assign(groups, nodes)
		for _, g := range groups {
			groupStatus(g, a, byName)
		}
		if len(a.of) != len(nodes) {
			b.Fatalf("%d of %d nodes", len(a.of), len(nodes))
		}
	}
}
