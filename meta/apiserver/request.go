package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// request is what the path and the method of an HTTP request mean.
type request struct {
	verb string // get, list, watch, create, update, patch, delete, deletecollection
	// The rest is empty for a path that names no resource.
	group, version, resource, subresource string
	namespace, name                       string
	path                                  string // as it came
}

func (q request) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: q.group, Resource: q.resource}
}

// full is the resource with its sub-resource, as rules name it.
func (q request) full() string {
	if q.subresource == "" {
		return q.resource
	}
	return q.resource + "/" + q.subresource
}

// parseRequest reads a path by the rules of
// https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris .
// It reports false for a path that begins like a resource's and is not well formed.
func parseRequest(method string, u *url.URL) (request, bool) {
	q := request{verb: strings.ToLower(method), path: u.Path}
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) >= 3:
		q.version, parts = parts[1], parts[2:]
	case parts[0] == "apis" && len(parts) >= 4:
		q.group, q.version, parts = parts[1], parts[2], parts[3:]
	default:
		return q, true
	}
	watching := parts[0] == "watch" // the old form of a watch
	if watching {
		parts = parts[1:]
	}
	// "namespaces/x" is a Namespace, and "namespaces/x/status" a part of it.
	if len(parts) >= 2 && parts[0] == "namespaces" {
		q.namespace = parts[1]
		if len(parts) > 2 && !slices.Contains([]string{"status", "finalize"}, parts[2]) {
			parts = parts[2:]
		}
	}
	if len(parts) == 0 || len(parts) > 3 && parts[2] != "proxy" {
		return q, false
	}
	for _, p := range parts {
		if p == "" {
			return q, false
		}
	}
	q.resource = parts[0]
	if len(parts) > 1 {
		q.name = parts[1]
	}
	if len(parts) > 2 {
		q.subresource = parts[2]
	}
	for _, segment := range []string{q.namespace, q.name, q.resource, q.subresource} {
		if segment != "" && len(content.IsPathSegmentName(segment)) > 0 {
			return q, false
		}
	}
	if q.verb = verb(method, q.name != "", watching || flag(u, "watch")); q.verb == "" {
		return q, false
	}
	return q, true
}

func verb(method string, named, watching bool) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		switch {
		case watching:
			return "watch"
		case named:
			return "get"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if named {
			return "delete"
		}
		return "deletecollection"
	}
	return ""
}

// flag reads a boolean parameter as Kubernetes does: there and neither "0" nor
// "false" is true.
func flag(u *url.URL, name string) bool {
	values, ok := u.Query()[name]
	return ok && len(values) > 0 && values[0] != "0" && !strings.EqualFold(values[0], "false")
}
