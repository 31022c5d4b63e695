// Package rbac decides by RBAC objects (rbac.authorization.k8s.io/v1) what a user may do.
// It is pure: the caller passes the objects and the question.
package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// User is the user of a request.
type User struct {
	Name   string
	Groups []string
}

// Question is what somebody wants to do.
type Question struct {
	Verb      string
	Group     string // API group
	Resource  string // with its sub-resource: "pods/log"
	Namespace string // "" for cluster-scoped objects, and for all namespaces
	Name      string // "" for a request without a name
	Path      string // of a non-resource URL; Resource is then ""
}

// Policy is a set of rules. It is not changed once it is made.
type Policy struct {
	roles        map[string][]rbacv1.PolicyRule // namespace/name
	clusterRoles map[string][]rbacv1.PolicyRule
	bindings     []rbacv1.RoleBinding
	cluster      []rbacv1.ClusterRoleBinding
}

// New makes a Policy of the objects.
func New(roles []rbacv1.Role, clusterRoles []rbacv1.ClusterRole, bindings []rbacv1.RoleBinding, cluster []rbacv1.ClusterRoleBinding) *Policy {
	p := &Policy{roles: make(map[string][]rbacv1.PolicyRule), clusterRoles: make(map[string][]rbacv1.PolicyRule), bindings: bindings, cluster: cluster}
	for _, r := range roles {
		p.roles[r.Namespace+"/"+r.Name] = r.Rules
	}
	for _, r := range clusterRoles {
		p.clusterRoles[r.Name] = r.Rules
	}
	return p
}

// Allows reports whether a rule lets the user do it.
func (p *Policy) Allows(u User, q Question) bool {
	allowed := false
	p.visit(u, q.Namespace, func(r rbacv1.PolicyRule) bool {
		allowed = ruleAllows(r, q)
		return !allowed
	})
	return allowed
}

// Rules returns all rules that apply to the user in a namespace.
func (p *Policy) Rules(u User, namespace string) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	p.visit(u, namespace, func(r rbacv1.PolicyRule) bool {
		all = append(all, r)
		return true
	})
	return all
}

func (p *Policy) visit(u User, namespace string, more func(rbacv1.PolicyRule) bool) {
	for _, b := range p.cluster {
		if !applies(b.Subjects, u, "") || b.RoleRef.Kind != "ClusterRole" {
			continue
		}
		for _, r := range p.clusterRoles[b.RoleRef.Name] {
			if !more(r) {
				return
			}
		}
	}
	if namespace == "" {
		return
	}
	for _, b := range p.bindings {
		if b.Namespace != namespace || !applies(b.Subjects, u, b.Namespace) {
			continue
		}
		rules := p.clusterRoles[b.RoleRef.Name]
		if b.RoleRef.Kind == "Role" {
			rules = p.roles[namespace+"/"+b.RoleRef.Name]
		}
		for _, r := range rules {
			if !more(r) {
				return
			}
		}
	}
}

func applies(subjects []rbacv1.Subject, u User, namespace string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.UserKind:
			return s.Name == u.Name
		case rbacv1.GroupKind:
			return slices.Contains(u.Groups, s.Name)
		case rbacv1.ServiceAccountKind:
			if s.Namespace == "" {
				s.Namespace = namespace
			}
			return s.Namespace != "" && u.Name == "system:serviceaccount:"+s.Namespace+":"+s.Name
		}
		return false
	})
}

func ruleAllows(r rbacv1.PolicyRule, q Question) bool {
	if !slices.Contains(r.Verbs, q.Verb) && !slices.Contains(r.Verbs, rbacv1.VerbAll) {
		return false
	}
	if q.Resource == "" {
		return slices.ContainsFunc(r.NonResourceURLs, func(url string) bool {
			prefix, wild := strings.CutSuffix(url, "*")
			return url == q.Path || wild && strings.HasPrefix(q.Path, prefix)
		})
	}
	_, sub, hasSub := strings.Cut(q.Resource, "/")
	return (slices.Contains(r.APIGroups, q.Group) || slices.Contains(r.APIGroups, rbacv1.APIGroupAll)) &&
		slices.ContainsFunc(r.Resources, func(name string) bool {
			return name == rbacv1.ResourceAll || name == q.Resource || hasSub && name == "*/"+sub
		}) &&
		(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, q.Name))
}
