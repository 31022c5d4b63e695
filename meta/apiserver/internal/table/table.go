// Package table makes the tables that kubectl prints: with the API server's columns for
// the kinds that a node has, and with name and age for all others.
package table

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// New makes an empty table for a kind, with the definitions of its columns if withColumns
// is set.
func New(group, kind string, withColumns bool) *metav1.Table {
	t := &metav1.Table{
		TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: metav1.SchemeGroupVersion.String()},
		Rows:     []metav1.TableRow{},
	}
	if withColumns {
		t.ColumnDefinitions = columns(group, kind)
	}
	return t
}

// columns are given as "Name", with a "+" before those that only "-o wide"
// shows.
func columns(group, kind string) []metav1.TableColumnDefinition {
	names := "Name,Age"
	switch group + "/" + kind {
	case "/Pod":
		names = "Name,Ready,Status,Restarts,Age,+IP,+Node,+Nominated Node,+Readiness Gates"
	case "/Namespace":
		names = "Name,Status,Age"
	case "/Node":
		names = "Name,Status,Roles,Age,Version,+Internal-IP,+External-IP,+OS-Image,+Kernel-Version,+Container-Runtime"
	case "/Service":
		names = "Name,Type,Cluster-IP,External-IP,Port(s),Age,+Selector"
	case "/ConfigMap":
		names = "Name,Data,Age"
	case "/Secret":
		names = "Name,Type,Data,Age"
	case "/Event":
		names = "Last Seen,Type,Reason,Object,+Subobject,+Source,Message,+First Seen,+Count,+Name"
	case "discovery.k8s.io/EndpointSlice":
		names = "Name,AddressType,Ports,Endpoints,Age"
	case "networking.k8s.io/ServiceCIDR":
		names = "Name,CIDRs,Age"
	case "rbac.authorization.k8s.io/Role", "rbac.authorization.k8s.io/ClusterRole":
		names = "Name,Created At"
	case "rbac.authorization.k8s.io/RoleBinding", "rbac.authorization.k8s.io/ClusterRoleBinding":
		names = "Name,Role,Age,+Users,+Groups,+ServiceAccounts"
	}
	var out []metav1.TableColumnDefinition
	for name := range strings.SplitSeq(names, ",") {
		c := metav1.TableColumnDefinition{Name: strings.TrimPrefix(name, "+"), Type: "string"}
		if name != c.Name {
			c.Priority = 1
		}
		if c.Name == "Name" {
			c.Format = "name"
		}
		if kind == "ConfigMap" && c.Name == "Data" {
			c.Type = "integer"
		}
		out = append(out, c)
	}
	return out
}

// Cells are one object's row, in the order of its kind's columns.
func Cells(obj metav1.Object, now time.Time) []any {
	age := Age(obj.GetCreationTimestamp(), now)
	switch o := obj.(type) {
	case *corev1.Pod:
		return pod(o, now)
	case *corev1.Namespace:
		return []any{o.Name, string(o.Status.Phase), age}
	case *corev1.Node:
		return node(o, now)
	case *corev1.Service:
		return []any{o.Name, string(o.Spec.Type), or(o.Spec.ClusterIP), external(o), or(servicePorts(o.Spec.Ports)), age, or(metav1.FormatLabelSelector(metav1.SetAsLabelSelector(o.Spec.Selector)))}
	case *corev1.ConfigMap:
		return []any{o.Name, int64(len(o.Data) + len(o.BinaryData)), age}
	case *corev1.Secret:
		return []any{o.Name, string(o.Type), int64(len(o.Data)), age}
	case *corev1.Event:
		return event(o, now)
	case *discoveryv1.EndpointSlice:
		return []any{o.Name, string(o.AddressType), slicePorts(o.Ports), endpoints(o.Endpoints), age}
	case *networkingv1.ServiceCIDR:
		return []any{o.Name, strings.Join(o.Spec.CIDRs, ","), age}
	case *rbacv1.Role, *rbacv1.ClusterRole:
		return []any{obj.GetName(), obj.GetCreationTimestamp().UTC().Format(time.RFC3339)}
	case *rbacv1.RoleBinding:
		return binding(o.Name, o.RoleRef, o.Subjects, age)
	case *rbacv1.ClusterRoleBinding:
		return binding(o.Name, o.RoleRef, o.Subjects, age)
	}
	return []any{obj.GetName(), age}
}

// Age is how long ago t was, in kubectl's form.
func Age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// or returns "<none>" for an empty string.
func or(text string) string {
	if text == "" {
		return "<none>"
	}
	return text
}

// some joins the first few of a list.
func some(list []string, most int) string {
	if len(list) == 0 {
		return "<none>"
	}
	if len(list) <= most {
		return strings.Join(list, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(list[:most], ","), len(list)-most)
}

func binding(name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject, age string) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{name, ref.Kind + "/" + ref.Name, age, strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", ")}
}

func event(e *corev1.Event, now time.Time) []any {
	first, last := Age(e.FirstTimestamp, now), Age(e.LastTimestamp, now)
	if e.FirstTimestamp.IsZero() {
		first = Age(metav1.Time{Time: e.EventTime.Time}, now)
	}
	count := max(e.Count, 1)
	if e.Series != nil {
		last, count = Age(metav1.Time{Time: e.Series.LastObservedTime.Time}, now), e.Series.Count
	} else if e.LastTimestamp.IsZero() {
		last = first
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := e.Source.Component
	if source == "" {
		source = e.ReportingController
	}
	if e.Source.Host != "" {
		source += ", " + e.Source.Host
	}
	return []any{last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, fmt.Sprint(count), e.Name}
}
