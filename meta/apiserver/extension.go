package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

type identityKey struct{}

// IdentityOf says who made a request that a handler of Config.Extensions serves. ok is false
// for any other request.
func IdentityOf(ctx context.Context) (who Identity, ok bool) {
	who, ok = ctx.Value(identityKey{}).(Identity)
	return who, ok
}

// Admin reports whether it is the node itself or its administrator, who may do everything on
// the node.
func (i Identity) Admin() bool { return i.node }

// Namespace is that of a service account; "" for any other identity.
func (i Identity) Namespace() string {
	rest, ok := strings.CutPrefix(i.User, "system:serviceaccount:")
	namespace, _, found := strings.Cut(rest, ":")
	if !ok || !found {
		return ""
	}
	return namespace
}

// extension is the handler of Config.Extensions for a request, or nil.
func (s *Server) extension(r *http.Request, who Identity) http.Handler {
	path := r.URL.Path
	if handler, ok := s.cfg.Extensions[path]; ok {
		return handler
	}
	for key, handler := range s.cfg.Extensions {
		if method, pattern, ok := strings.Cut(key, " "); ok {
			if who.Admin() && method == r.Method && matches(pattern, path) {
				return handler
			}
			continue
		}
		if strings.HasSuffix(key, "/") && strings.HasPrefix(path, key) {
			return handler
		}
	}
	return nil
}

// matches reports whether a path has the segments of a pattern, in which * stands for any one
// that is not empty.
func matches(pattern, path string) bool {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return false
	}
	for i, segment := range want {
		if segment != have[i] && (segment != "*" || have[i] == "") {
			return false
		}
	}
	return true
}

// isKubernetes reports whether a path is among those of Kubernetes' API.
func isKubernetes(path string) bool {
	return strings.HasPrefix(path, "/api/") || strings.HasPrefix(path, "/apis/")
}

// checkExtension checks a key of Config.Extensions.
func checkExtension(key string) error {
	path := key
	if method, pattern, ok := strings.Cut(key, " "); ok {
		path = pattern
		if method == "" || !isKubernetes(path) {
			return fmt.Errorf("meta/apiserver: Config.Extensions: %q: after a method want a path of Kubernetes' own, such as \"POST /api/v1/namespaces/*/pods/restart\"", key)
		}
	}
	if isKubernetes(path) && !strings.HasSuffix(path, "/") {
		return nil // one path, or a pattern of paths
	}
	if !strings.HasPrefix(path, "/") || !strings.HasSuffix(path, "/") || isKubernetes(path) || path == "/" {
		return fmt.Errorf("meta/apiserver: Config.Extensions: prefix %q must begin and end with a slash and be none of Kubernetes' own, or be one path of those without a slash at its end", path)
	}
	return nil
}
