package apiserver

import (
	"context"
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

// extension is the handler of Config.Extensions for a path, or nil.
func (s *Server) extension(path string) http.Handler {
	if handler, ok := s.cfg.Extensions[path]; ok {
		return handler
	}
	for prefix, handler := range s.cfg.Extensions {
		if strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return handler
		}
	}
	return nil
}
