package groups

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// assignment says which group each node is in.
type assignment struct {
	of      map[string]*v1alpha1.NodeGroup // by node
	members map[string][]string            // nodes by group, sorted
	lost    map[string][]loss              // nodes by group that wants them and does not have them, sorted
	wanted  map[string][]loss              // nodes of a group by another group that wants them too, sorted
}

// loss is a node that two groups want.
type loss struct {
	node  string
	other string // the other group; "" if there is no such node
}

// index finds nodes by their labels.
type index struct {
	byName  map[string]*corev1.Node
	byLabel map[string]map[string][]string // key, value: names
}

// newIndex indexes the labels that groups ask for: others cost nothing.
func newIndex(groups []*v1alpha1.NodeGroup, nodes []*corev1.Node) *index {
	x := &index{byName: make(map[string]*corev1.Node, len(nodes)), byLabel: make(map[string]map[string][]string)}
	for _, g := range groups {
		for key := range g.Spec.MatchLabels {
			if x.byLabel[key] == nil {
				x.byLabel[key] = make(map[string][]string)
			}
		}
	}
	for _, n := range nodes {
		x.byName[n.Name] = n
		for key, values := range x.byLabel {
			if value, ok := n.Labels[key]; ok {
				values[value] = append(values[value], n.Name)
			}
		}
	}
	return x
}

// match returns the nodes that have all of some labels. No labels match no node.
func (x *index) match(want map[string]string) []string {
	var rarest []string
	first := true
	for key, value := range want {
		if have := x.byLabel[key][value]; first || len(have) < len(rarest) {
			rarest, first = have, false
		}
	}
	var out []string
	for _, name := range rarest {
		if hasAll(x.byName[name].Labels, want) {
			out = append(out, name)
		}
	}
	return out
}

func hasAll(have, want map[string]string) bool {
	for key, value := range want {
		if got, ok := have[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// assign decides which group each node is in. If several want a node, the oldest has it. A group
// that is being deleted wants none.
func assign(groups []*v1alpha1.NodeGroup, nodes []*corev1.Node) *assignment {
	a := &assignment{
		of: make(map[string]*v1alpha1.NodeGroup), members: make(map[string][]string),
		lost: make(map[string][]loss), wanted: make(map[string][]loss),
	}
	groups = slices.Clone(groups)
	slices.SortFunc(groups, older)
	x := newIndex(groups, nodes)
	for _, g := range groups {
		if g.DeletionTimestamp != nil {
			continue
		}
		for _, name := range wants(x, g) {
			switch owner := a.of[name]; {
			case x.byName[name] == nil:
				a.lost[g.Name] = append(a.lost[g.Name], loss{node: name})
			case owner != nil:
				a.lost[g.Name] = append(a.lost[g.Name], loss{node: name, other: owner.Name})
				a.wanted[owner.Name] = append(a.wanted[owner.Name], loss{node: name, other: g.Name})
			default:
				a.of[name] = g
				a.members[g.Name] = append(a.members[g.Name], name)
			}
		}
	}
	for _, list := range a.wanted {
		slices.SortFunc(list, func(p, q loss) int { return cmp.Or(strings.Compare(p.node, q.node), strings.Compare(p.other, q.other)) })
	}
	return a
}

// older orders groups by age, and by name where they have the same age.
func older(a, b *v1alpha1.NodeGroup) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

// wants returns the names of the nodes that a group wants, sorted, each once.
func wants(x *index, g *v1alpha1.NodeGroup) []string {
	names := x.match(g.Spec.MatchLabels)
	for _, name := range g.Spec.Nodes {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// labels is what a node's labels about its group should be.
type labels struct {
	group string // "" is in none
	zone  bool   // the zone is the group
}

func (a *assignment) labels(node string) labels {
	g := a.of[node]
	if g == nil {
		return labels{}
	}
	return labels{group: g.Name, zone: g.Spec.TopologyEnabled}
}

// settled reports whether a node's labels are as they should be, as far as they show it: whose
// the zone is they do not show.
func (w labels) settled(n *corev1.Node) bool {
	if n.Labels[v1alpha1.BelongingToLabel] != w.group {
		return false
	}
	_, has := n.Labels[corev1.LabelTopologyZone]
	return !w.zone || has
}

// mayHoldZone reports whether a node may still have a zone of this controller that it should not
// have.
func (w labels) mayHoldZone(n *corev1.Node) bool {
	return !w.zone && w.group != "" && n.Labels[corev1.LabelTopologyZone] == w.group
}

// The bound of statuses.
const (
	maxNodeStatuses = 500
	maxNamed        = 5 // nodes that a message names
)

// groupStatus is the status of a group without the times of its conditions.
func groupStatus(g *v1alpha1.NodeGroup, a *assignment, byName map[string]*corev1.Node) v1alpha1.NodeGroupStatus {
	members, lost := a.members[g.Name], a.lost[g.Name]
	st := v1alpha1.NodeGroupStatus{ObservedGeneration: g.Generation, Conditions: slices.Clone(g.Status.Conditions)}
	st.Nodes.Total, st.Nodes.Failed = int32(len(members)), int32(len(lost)) //nolint:gosec // at most as many as there are nodes
	for _, l := range lost {
		if len(st.NodeStatuses) == maxNodeStatuses {
			break
		}
		reason := "node does not exist"
		if l.other != "" {
			reason = fmt.Sprintf("node %s has already belonged to NodeGroup %s", l.node, l.other)
		}
		st.NodeStatuses = append(st.NodeStatuses, v1alpha1.NodeStatus{
			NodeName: l.node, ReadyStatus: ready(byName[l.node]), SelectionStatus: v1alpha1.SelectionFailed, SelectionStatusReason: reason,
		})
	}
	var zones []string
	for _, name := range members {
		n := byName[name]
		if ready(n) == v1alpha1.NodeReady {
			st.Nodes.Ready++
		}
		if zone, ok := n.Labels[corev1.LabelTopologyZone]; ok && g.Spec.TopologyEnabled && zone != g.Name {
			zones = append(zones, fmt.Sprintf("node %s has the zone %s, which is not changed", name, zone))
		}
		if len(st.NodeStatuses) < maxNodeStatuses {
			st.NodeStatuses = append(st.NodeStatuses, v1alpha1.NodeStatus{NodeName: name, ReadyStatus: ready(n), SelectionStatus: v1alpha1.SelectionSucceeded})
		}
	}
	slices.SortFunc(st.NodeStatuses, func(a, b v1alpha1.NodeStatus) int { return strings.Compare(a.NodeName, b.NodeName) })
	setConflict(&st, a, g.Name, zones)
	return st
}

// setConflict sets the condition about what a group cannot have, or has and others want.
func setConflict(st *v1alpha1.NodeGroupStatus, a *assignment, group string, zones []string) {
	var all []string
	for _, l := range a.lost[group] {
		if l.other != "" {
			all = append(all, fmt.Sprintf("node %s is in the older NodeGroup %s", l.node, l.other))
		}
	}
	for _, l := range a.wanted[group] {
		all = append(all, fmt.Sprintf("node %s is wanted by the younger NodeGroup %s too", l.node, l.other))
	}
	switch {
	case len(all) > 0:
		setCondition(&st.Conditions, v1alpha1.ConditionConflict, metav1.ConditionTrue, "TwoGroups", some(append(all, zones...)), st.ObservedGeneration)
	case len(zones) > 0:
		setCondition(&st.Conditions, v1alpha1.ConditionConflict, metav1.ConditionTrue, "ZoneOfOthers", some(zones), st.ObservedGeneration)
	default:
		setCondition(&st.Conditions, v1alpha1.ConditionConflict, metav1.ConditionFalse, "None", "", st.ObservedGeneration)
	}
}

// maxMessage is how long the message of a condition may be.
const maxMessage = 1024

// setCondition sets a condition.
func setCondition(all *[]metav1.Condition, kind string, status metav1.ConditionStatus, reason, message string, generation int64) {
	meta.SetStatusCondition(all, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: cut(message), ObservedGeneration: generation,
	})
}

// cut shortens a message between two characters: the API server would replace a part of one, and
// the status would never be what was written.
func cut(message string) string {
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage], "")
}

// some joins the first messages.
func some(all []string) string {
	if len(all) <= maxNamed {
		return strings.Join(all, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(all[:maxNamed], "; "), len(all)-maxNamed)
}

// ready says what a node's condition Ready says.
func ready(n *corev1.Node) v1alpha1.ReadyStatus {
	if n != nil {
		for i := range n.Status.Conditions {
			switch c := &n.Status.Conditions[i]; {
			case c.Type != corev1.NodeReady:
			case c.Status == corev1.ConditionTrue:
				return v1alpha1.NodeReady
			case c.Status == corev1.ConditionFalse:
				return v1alpha1.NodeNotReady
			}
		}
	}
	return v1alpha1.NodeUnknown
}

// held returns the groups whose label some node has.
func held(nodes map[string]*corev1.Node) map[string]bool {
	all := make(map[string]bool)
	for _, n := range nodes {
		if group := n.Labels[v1alpha1.BelongingToLabel]; group != "" {
			all[group] = true
		}
	}
	return all
}
