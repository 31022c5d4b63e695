package groups

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8slabels "k8s.io/apimachinery/pkg/labels"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// target is where a copy runs, and what is different there.
type target struct {
	site     string
	selector map[string]string                // of nodes
	affinity []corev1.NodeSelectorRequirement // of the labels of nodes
	node     string                           // the only node; "" is any
	over     *v1alpha1.Overriders
}

// dependsOnFleet reports whether nodes or groups decide which copies there are.
func dependsOnFleet(app *v1alpha1.EdgeApplication) bool {
	s := &app.Spec.WorkloadScope
	return s.TargetNodeGroupSelector != nil ||
		slices.ContainsFunc(s.TargetNodeGroups, func(t v1alpha1.TargetNodeGroup) bool { return t.PerNode }) ||
		slices.ContainsFunc(s.TargetNodeLabels, func(t v1alpha1.TargetNodeLabels) bool { return t.PerNode })
}

// targetsOf lists the targets of an application, those of single nodes last.
func targetsOf(app *v1alpha1.EdgeApplication, groups []*v1alpha1.NodeGroup, members map[string][]string, nodes []*corev1.Node) ([]target, error) {
	scope := &app.Spec.WorkloadScope
	var out, single []target
	of := func(group string, perNode bool, over *v1alpha1.Overriders) {
		t := target{site: group, selector: map[string]string{v1alpha1.BelongingToLabel: group}, over: over}
		if !perNode {
			out = append(out, t)
			return
		}
		for _, name := range members[group] {
			t.site, t.node = name, name
			single = append(single, t)
		}
	}
	named := make(map[string]bool)
	for i := range scope.TargetNodeGroups {
		t := &scope.TargetNodeGroups[i]
		named[t.Name] = true
		of(t.Name, t.PerNode, &t.Overriders)
	}
	if s := scope.TargetNodeGroupSelector; s != nil {
		selector, err := metav1.LabelSelectorAsSelector(&s.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("workloadScope.targetNodeGroupSelector: %w", err)
		}
		names := make([]string, 0, len(groups))
		for _, g := range groups {
			if !named[g.Name] && g.DeletionTimestamp == nil && selector.Matches(k8slabels.Set(g.Labels)) {
				names = append(names, g.Name)
			}
		}
		slices.Sort(names)
		for _, name := range names {
			of(name, s.PerNode, &s.Overriders)
		}
	}
	for i := range scope.TargetNodeLabels {
		t := &scope.TargetNodeLabels[i]
		selector, err := metav1.LabelSelectorAsSelector(&t.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("workloadScope.targetNodeLabels[%d]: %w", i, err)
		}
		where := target{site: selectorSite(&t.LabelSelector), affinity: requirements(&t.LabelSelector), over: &t.Overriders}
		if selector.Matches(k8slabels.Set{}) { // nodes of the cloud too
			where.affinity = append(where.affinity, corev1.NodeSelectorRequirement{Key: nodelifecycle.RoleLabel, Operator: corev1.NodeSelectorOpExists})
		}
		if !t.PerNode {
			out = append(out, where)
			continue
		}
		for _, n := range nodes {
			if selector.Matches(k8slabels.Set(n.Labels)) {
				where.site, where.node = n.Name, n.Name
				single = append(single, where)
			}
		}
	}
	// A node that two targets have gets the copy of the first.
	slices.SortStableFunc(single, func(a, b target) int { return strings.Compare(a.node, b.node) })
	single = slices.CompactFunc(single, func(a, b target) bool { return a.node == b.node })
	return append(out, single...), nil
}

// requirements are what a selector asks of nodes, in a fixed order.
func requirements(s *metav1.LabelSelector) []corev1.NodeSelectorRequirement {
	var out []corev1.NodeSelectorRequirement
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		out = append(out, corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: []string{s.MatchLabels[key]}})
	}
	for _, e := range s.MatchExpressions {
		out = append(out, corev1.NodeSelectorRequirement{Key: e.Key, Operator: corev1.NodeSelectorOperator(e.Operator), Values: e.Values})
	}
	return out
}

// selectorSite names the site of a selector.
func selectorSite(s *metav1.LabelSelector) string {
	hash := sha256.New()
	for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
		_, _ = hash.Write([]byte(key + s.MatchLabels[key]))
	}
	for _, e := range s.MatchExpressions {
		_, _ = fmt.Fprintf(hash, "\x00%s %s %q", e.Key, e.Operator, e.Values)
	}
	return "ls-" + hex.EncodeToString(hash.Sum(nil)[:4])
}
