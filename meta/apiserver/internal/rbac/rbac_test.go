package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func named(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name}
}

func policy() *Policy {
	read := []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods", "*/log"}}}
	one := []rbacv1.PolicyRule{{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"configmaps"}, ResourceNames: []string{"settings"}}}
	all := []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"get"}, NonResourceURLs: []string{"/healthz", "/metrics/*"}},
	}
	user := func(name string) []rbacv1.Subject { return []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: name}} }
	return New(
		[]rbacv1.Role{{ObjectMeta: named("plant", "one"), Rules: one}, {ObjectMeta: named("office", "one"), Rules: all}},
		[]rbacv1.ClusterRole{{ObjectMeta: named("", "read"), Rules: read}, {ObjectMeta: named("", "all"), Rules: all}},
		[]rbacv1.RoleBinding{
			{ObjectMeta: named("plant", "a"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "one"}, Subjects: user("ann")},
			{ObjectMeta: named("plant", "b"), RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "read"}, Subjects: []rbacv1.Subject{
				{Kind: rbacv1.ServiceAccountKind, Name: "app"}, {Kind: rbacv1.ServiceAccountKind, Namespace: "office", Name: "app"}}},
			{ObjectMeta: named("plant", "c"), RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "gone"}, Subjects: user("bob")},
		},
		[]rbacv1.ClusterRoleBinding{
			{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "all"}, Subjects: []rbacv1.Subject{{Kind: rbacv1.GroupKind, Name: "admins"}}},
			{RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "all"}, Subjects: user("bob")},
			{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "all"}, Subjects: []rbacv1.Subject{{Kind: "Unknown", Name: "bob"}, {Kind: rbacv1.ServiceAccountKind, Name: "lost"}}},
		},
	)
}

func TestAllows(t *testing.T) {
	p := policy()
	account := func(namespace, name string) User {
		return User{Name: "system:serviceaccount:" + namespace + ":" + name}
	}
	settings := Question{Verb: "update", Resource: "configmaps", Namespace: "plant", Name: "settings"}
	pods := Question{Verb: "list", Resource: "pods", Namespace: "plant"}
	with := func(q Question, edit func(*Question)) Question { edit(&q); return q }
	for name, c := range map[string]struct {
		user User
		q    Question
		want bool
	}{
		"by name":                         {User{Name: "ann"}, settings, true},
		"another name":                    {User{Name: "ann"}, with(settings, func(q *Question) { q.Name = "others" }), false},
		"no name":                         {User{Name: "ann"}, with(settings, func(q *Question) { q.Name = "" }), false},
		"another namespace":               {User{Name: "ann"}, with(settings, func(q *Question) { q.Namespace = "office" }), false},
		"all namespaces":                  {User{Name: "ann"}, with(settings, func(q *Question) { q.Namespace = "" }), false},
		"a user of a group's name":        {User{Name: "admins"}, settings, false},
		"account of the binding":          {account("plant", "app"), pods, true},
		"account of another namespace":    {account("office", "app"), pods, true},
		"account that is not bound":       {account("home", "app"), pods, false},
		"account bound without namespace": {account("", "lost"), pods, false},
		"another verb":                    {account("plant", "app"), with(pods, func(q *Question) { q.Verb = "delete" }), false},
		"another group":                   {account("plant", "app"), with(pods, func(q *Question) { q.Group = "apps" }), false},
		"any resource's log":              {account("plant", "app"), with(pods, func(q *Question) { q.Resource, q.Verb = "jobs/log", "get" }), true},
		"another sub-resource":            {account("plant", "app"), with(pods, func(q *Question) { q.Resource, q.Verb = "pods/exec", "get" }), false},
		"group":                           {User{Name: "eve", Groups: []string{"staff", "admins"}}, Question{Verb: "delete", Group: "x", Resource: "nodes/proxy"}, true},
		"path":                            {User{Groups: []string{"admins"}}, Question{Verb: "get", Path: "/healthz"}, true},
		"path below":                      {User{Groups: []string{"admins"}}, Question{Verb: "get", Path: "/metrics/resource"}, true},
		"path beside":                     {User{Groups: []string{"admins"}}, Question{Verb: "get", Path: "/healthz/x"}, false},
		"path, another verb":              {User{Groups: []string{"admins"}}, Question{Verb: "post", Path: "/healthz"}, false},
		"a role that is gone":             {User{Name: "bob"}, pods, false},
		"nobody":                          {User{}, pods, false},
	} {
		if got := p.Allows(c.user, c.q); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}

func TestRules(t *testing.T) {
	p := policy()
	if got := p.Rules(User{Name: "ann", Groups: []string{"admins"}}, "plant"); len(got) != 3 {
		t.Errorf("%d rules in the namespace, want 3: %v", len(got), got)
	}
	if got := p.Rules(User{Name: "ann", Groups: []string{"admins"}}, ""); len(got) != 2 {
		t.Errorf("%d rules in no namespace, want 2: %v", len(got), got)
	}
}
