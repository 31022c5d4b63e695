package nodeapi

import (
	"maps"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// bindings finds the bindings that concern a service account.
type bindings struct {
	bySubject map[string]map[hub.Key]struct{}
	subjects  map[hub.Key][]string
	role      map[hub.Key]hub.Key // to what a binding refers
}

func newBindings() bindings {
	return bindings{bySubject: make(map[string]map[hub.Key]struct{}), subjects: make(map[hub.Key][]string), role: make(map[hub.Key]hub.Key)}
}

// subjectOf names a subject; "" for one that cannot be a service account.
func subjectOf(s rbacv1.Subject, namespace string) string {
	switch s.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		return s.Kind + "/" + s.Name
	case rbacv1.ServiceAccountKind:
		if s.Namespace == "" {
			s.Namespace = namespace
		}
		return rbacv1.UserKind + "/system:serviceaccount:" + s.Namespace + ":" + s.Name
	}
	return ""
}

// subjectsOf names all that a service account is.
func subjectsOf(account cache.Name) []string {
	return []string{
		rbacv1.UserKind + "/system:serviceaccount:" + account.Namespace + ":" + account.Name,
		rbacv1.GroupKind + "/system:serviceaccounts:" + account.Namespace,
		rbacv1.GroupKind + "/system:serviceaccounts",
		rbacv1.GroupKind + "/system:authenticated",
	}
}

func (b *bindings) add(key hub.Key, subjects []rbacv1.Subject, ref rbacv1.RoleRef) {
	for _, s := range subjects {
		name := subjectOf(s, key.Namespace)
		if name == "" {
			continue
		}
		if b.bySubject[name] == nil {
			b.bySubject[name] = make(map[hub.Key]struct{})
		}
		b.bySubject[name][key] = struct{}{}
		b.subjects[key] = append(b.subjects[key], name)
	}
	b.role[key] = hub.Key{Resource: resources.ClusterRoles, Name: ref.Name}
	if ref.Kind == "Role" {
		b.role[key] = hub.Key{Resource: resources.Roles, Namespace: key.Namespace, Name: ref.Name}
	}
}

func (b *bindings) remove(key hub.Key) {
	for _, name := range b.subjects[key] {
		if delete(b.bySubject[name], key); len(b.bySubject[name]) == 0 {
			delete(b.bySubject, name)
		}
	}
	delete(b.subjects, key)
	delete(b.role, key)
}

// needs returns the keys of all RBAC objects that concern the accounts.
func (b *bindings) needs(accounts map[cache.Name]struct{}) map[hub.Key]struct{} {
	out := make(map[hub.Key]struct{})
	for account := range accounts {
		for _, subject := range subjectsOf(account) {
			maps.Copy(out, b.bySubject[subject])
		}
	}
	for key := range maps.Clone(out) {
		out[b.role[key]] = struct{}{}
	}
	return out
}
