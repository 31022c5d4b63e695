package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// serveOther answers requests that are not about objects: health, version, discovery,
// OpenAPI.
func (s *Server) serveOther(w http.ResponseWriter, r *http.Request, q request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Resource: q.path}, r.Method)
	}
	path := strings.TrimSuffix(q.path, "/")
	d, err := s.directory(r.Context())
	if err != nil {
		return err
	}
	if strings.HasPrefix(path, "/api") || strings.HasPrefix(path, "/openapi") {
		w.Header().Set(HeaderPartial, "true")
	}
	if path == "/api" || path == "/apis" { // each discovery begins with these
		s.warnPartial(w, "kinds")
	}
	switch path {
	case "/healthz", "/livez", "/readyz":
		return s.health(w, r)
	case "/version":
		return writeJSON(w, "", s.version())
	case "/api":
		if s.wantsAggregated(r) {
			return writeJSON(w, aggregatedType, d.aggregated(true))
		}
		return writeJSON(w, "", &metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}})
	case "/apis":
		if s.wantsAggregated(r) {
			return writeJSON(w, aggregatedType, d.aggregated(false))
		}
		return writeJSON(w, "", d.groups())
	case "/api/v1":
		return writeJSON(w, "", d.resources(schema.GroupVersion{Version: "v1"}))
	}
	if rest, ok := strings.CutPrefix(path, "/openapi/v3"); ok {
		if doc := d.openAPI(strings.TrimPrefix(rest, "/"), s.cfg.Version); doc != nil {
			return writeJSON(w, "", doc)
		}
	}
	if rest, ok := strings.CutPrefix(path, "/apis/"); ok {
		group, v, hasVersion := strings.Cut(rest, "/")
		list := d.groups()
		i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == group })
		switch {
		case i >= 0 && !hasVersion:
			g := list.Groups[i]
			g.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
			return writeJSON(w, "", &g)
		case i >= 0 && slices.ContainsFunc(list.Groups[i].Versions, func(x metav1.GroupVersionForDiscovery) bool { return x.Version == v }):
			return writeJSON(w, "", d.resources(schema.GroupVersion{Group: group, Version: v}))
		}
		// The cluster may have the group: only the API server can say that it has not.
		if connected, _ := s.cfg.Connected(); !connected {
			return offline(q, fmt.Sprintf("this node does not hold the API group %.200q, and the cloud is out of reach", rest))
		}
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the node's API does not serve " + path,
	}}
}

// health reports whether the store works.
func (s *Server) health(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.cfg.Store.Apply(r.Context()); err != nil {
		return apierrors.NewServiceUnavailable("store: " + err.Error())
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok"))
	return nil
}

func (s *Server) version() *version.Info {
	major, rest, _ := strings.Cut(strings.TrimPrefix(s.cfg.Version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	return &version.Info{
		Major: major, Minor: minor, GitVersion: s.cfg.Version, GoVersion: runtime.Version(),
		Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

func writeJSON(w http.ResponseWriter, media string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if media == "" {
		media = "application/json"
	}
	w.Header().Set("Content-Type", media)
	_, _ = w.Write(append(b, '\n'))
	return nil
}

// directory is what is served from the store, for discovery.
type directory []*served

// directory returns what is served now.
func (s *Server) directory(ctx context.Context) (directory, error) { return s.resources(ctx) }

// groupVersions lists the served groups and versions in order, without the core group.
func (d directory) groupVersions() []schema.GroupVersion {
	var all []schema.GroupVersion
	for _, r := range d {
		gv := schema.GroupVersion{Group: r.Group, Version: r.Version}
		if r.Group != "" && !slices.Contains(all, gv) {
			all = append(all, gv)
		}
	}
	return append(all, reviewGroups()...)
}

func (d directory) groups() *metav1.APIGroupList {
	list := &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{}}
	for _, gv := range d.groupVersions() {
		v := metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version}
		i := slices.IndexFunc(list.Groups, func(g metav1.APIGroup) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Groups = append(list.Groups, metav1.APIGroup{Name: gv.Group, PreferredVersion: v})
			i = len(list.Groups) - 1
		}
		list.Groups[i].Versions = append(list.Groups[i].Versions, v)
	}
	return list
}

// writeVerbs are the verbs that the cloud executes for a client.
var writeVerbs = [...]string{"create", "delete", "deletecollection", "patch", "update"}

func (r *served) verbs() metav1.Verbs {
	if r.outbox {
		return metav1.Verbs{"create", "get", "list", "patch", "watch"}
	}
	return append(metav1.Verbs{"get", "list", "watch"}, writeVerbs[:]...)
}

func (d directory) resources(gv schema.GroupVersion) *metav1.APIResourceList {
	list := &metav1.APIResourceList{
		TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: gv.String(), APIResources: []metav1.APIResource{},
	}
	for _, r := range d {
		if r.Group != gv.Group || r.Version != gv.Version {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: r.Name, SingularName: r.Singular, Namespaced: r.Namespaced, Kind: r.Kind, Verbs: r.verbs(), ShortNames: r.Short,
		})
		for _, sub := range r.subresources() {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: r.Name + "/" + sub.Name, Namespaced: r.Namespaced, Kind: sub.Kind, Verbs: sub.Verbs,
			})
		}
	}
	return addReviewResources(list, gv)
}

// subresources are those of pods: what their log and terminal need.
func (r *served) subresources() []metav1.APIResource {
	if r.Group != "" || r.Name != "pods" {
		return nil
	}
	var all []metav1.APIResource
	for _, name := range []string{"attach", "exec", "portforward"} {
		all = append(all, metav1.APIResource{Name: name, Kind: "Pod" + strings.ToUpper(name[:1]) + name[1:] + "Options", Verbs: metav1.Verbs{"create", "get"}})
	}
	return append(all, metav1.APIResource{Name: "log", Kind: "Pod", Verbs: metav1.Verbs{"get"}},
		metav1.APIResource{Name: "eviction", Kind: "Eviction", Verbs: metav1.Verbs{"create"}},
		metav1.APIResource{Name: "status", Kind: "Pod", Verbs: metav1.Verbs{"get", "patch", "update"}})
}

// aggregatedType is the content type of aggregated discovery.
const aggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

func (s *Server) wantsAggregated(r *http.Request) bool {
	f, ok := negotiate(r.Header.Get("Accept"), false)
	return ok && f.discovery
}

// aggregated is all of discovery in one answer: of the core group, or of all
// others.
func (d directory) aggregated(core bool) *apidiscoveryv2.APIGroupDiscoveryList {
	list := &apidiscoveryv2.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"}, Items: []apidiscoveryv2.APIGroupDiscovery{},
	}
	all := d.groupVersions()
	if core {
		all = []schema.GroupVersion{{Version: "v1"}}
	}
	for _, gv := range all {
		v := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
		for _, r := range d.resources(gv).APIResources {
			addDiscovered(&v, gv, r)
		}
		i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == gv.Group })
		if i < 0 {
			list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: gv.Group}})
			i = len(list.Items) - 1
		}
		list.Items[i].Versions = append(list.Items[i].Versions, v)
	}
	return list
}

// addDiscovered puts one resource, or a part of the one before it, into v.
func addDiscovered(v *apidiscoveryv2.APIVersionDiscovery, gv schema.GroupVersion, r metav1.APIResource) {
	kind := &metav1.GroupVersionKind{Group: gv.Group, Version: gv.Version, Kind: r.Kind}
	if _, sub, ok := strings.Cut(r.Name, "/"); ok {
		of := &v.Resources[len(v.Resources)-1]
		of.Subresources = append(of.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: kind, Verbs: r.Verbs})
		return
	}
	scope := apidiscoveryv2.ScopeCluster
	if r.Namespaced {
		scope = apidiscoveryv2.ScopeNamespace
	}
	v.Resources = append(v.Resources, apidiscoveryv2.APIResourceDiscovery{
		Resource: r.Name, ResponseKind: kind, Scope: scope, SingularResource: r.SingularName, Verbs: r.Verbs, ShortNames: r.ShortNames,
	})
}
