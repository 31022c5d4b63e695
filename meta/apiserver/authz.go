package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/internal/rbac"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// policy caches the RBAC rules of the store. follow drops the cache when a rule changes.
type policy struct {
	store meta.Store

	mu        sync.Mutex
	following bool
	rules     *rbac.Policy // nil: to be read
}

// current returns the present rules.
func (p *policy) current(ctx context.Context) (*rbac.Policy, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules != nil && p.following {
		return p.rules, nil
	}
	roles, err := readAll[rbacv1.Role](ctx, p.store, "roles")
	if err != nil {
		return nil, err
	}
	clusterRoles, err := readAll[rbacv1.ClusterRole](ctx, p.store, "clusterroles")
	if err != nil {
		return nil, err
	}
	bindings, err := readAll[rbacv1.RoleBinding](ctx, p.store, "rolebindings")
	if err != nil {
		return nil, err
	}
	cluster, err := readAll[rbacv1.ClusterRoleBinding](ctx, p.store, "clusterrolebindings")
	if err != nil {
		return nil, err
	}
	p.rules = rbac.New(roles, clusterRoles, bindings, cluster)
	return p.rules, nil
}

// readAll reads all objects of a resource. It fails for an unreadable one. Without that
// rule or binding nobody would get more rights, but those who rely on it should see
// that something is wrong.
func readAll[T any](ctx context.Context, store meta.Store, resource string) ([]T, error) {
	records, _, err := store.List(ctx, meta.Down+resource+"/")
	if err != nil {
		return nil, err
	}
	all := make([]T, 0, len(records))
	for _, r := range records {
		o, err := meta.DecodeObject(meta.Down, r)
		var v T
		if err == nil {
			err = jsonlimit.Unmarshal(o.Body, &v)
		}
		if err != nil {
			return nil, fmt.Errorf("stored %s cannot be read: %w", r.Key, err)
		}
		all = append(all, v)
	}
	return all, nil
}

// rulesIn names the resources that make the rules.
func rulesIn() [4]string {
	return [...]string{"roles", "clusterroles", "rolebindings", "clusterrolebindings"}
}

// follow forgets the rules whenever they change, until ctx ends or the store
// fails.
func (p *policy) follow(ctx context.Context) error {
	defer p.set(false)
	for ctx.Err() == nil {
		revision, err := p.store.Apply(ctx)
		if err != nil {
			return err
		}
		var prefixes []string
		for _, resource := range rulesIn() {
			prefixes = append(prefixes, meta.Down+resource+"/")
		}
		changes, err := meta.WatchPrefixes(ctx, p.store, prefixes, revision)
		if errors.Is(err, meta.ErrCompacted) {
			continue
		}
		if err != nil {
			return err
		}
		p.set(true)
		for events := range changes {
			for _, e := range events {
				if slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(e.Key, prefix) }) {
					p.set(true)
				}
			}
		}
		p.set(false)
	}
	return nil
}

// set forgets the rules and notes whether changes are followed from now on.
func (p *policy) set(following bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.following, p.rules = following, nil
}

// authorize returns an error for a request that the user may not make here.
func (s *Server) authorize(ctx context.Context, q request, who Identity) error {
	verb := q.verb
	if streaming(q) && q.subresource != "log" {
		verb = "create" // however the stream is opened
	}
	ok, err := s.allowed(ctx, who, rbac.Question{Verb: verb, Group: q.group, Resource: q.full(), Namespace: q.namespace, Name: q.name})
	if err != nil || ok {
		return err
	}
	scope := "at the cluster scope"
	if q.namespace != "" {
		scope = fmt.Sprintf("in the namespace %q", q.namespace)
	}
	return apierrors.NewForbidden(q.groupResource(), q.name, fmt.Errorf(
		"user %q cannot %s resource %q in API group %q %s, by the RBAC rules that have come to this node", who.User, verb, q.full(), q.group, scope))
}

func (s *Server) allowed(ctx context.Context, who Identity, q rbac.Question) (bool, error) {
	if who.node {
		return true, nil
	}
	rules, err := s.policy.current(ctx)
	if err != nil {
		return false, err
	}
	return rules.Allows(rbac.User{Name: who.User, Groups: who.Groups}, q), nil
}
