package apiserver

import (
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// The OpenAPI documents have no schemas: those of a cluster need megabytes, and a node has
// no use for them. kubectl create, apply and edit check only whether a kind's PATCH has the
// parameter fieldValidation. If so, they leave validation to the server, and the cloud's
// API server executes the write. The documents do not offer strategic merge patches,
// because kubectl would need a schema for those; it has built-in ones for Kubernetes' kinds.

// openAPIPaths is the index of all documents.
type openAPIPaths struct {
	Paths map[string]openAPILink `json:"paths"`
}

type openAPILink struct {
	ServerRelativeURL string `json:"serverRelativeURL"`
}

// openAPIDoc is the document of one group and version.
type openAPIDoc struct {
	OpenAPI string                 `json:"openapi"`
	Info    openAPIInfo            `json:"info"`
	Paths   map[string]openAPIPath `json:"paths"`
}

type openAPIInfo struct {
	Title   string `json:"title"`
	Version string `json:"version"`
}

type openAPIPath struct {
	Patch openAPIOperation `json:"patch"`
}

type openAPIOperation struct {
	Parameters []openAPIParameter `json:"parameters"`
	Responses  map[string]any     `json:"responses"`
	Kind       openAPIKind        `json:"x-kubernetes-group-version-kind"`
}

type openAPIParameter struct {
	Name   string            `json:"name"`
	In     string            `json:"in"`
	Schema map[string]string `json:"schema"`
}

type openAPIKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// openAPI returns the index for "", or the document of a path such as "api/v1" or
// "apis/apps/v1"; nil for a path that is not served.
func (d directory) openAPI(path, version string) any {
	all := append([]schema.GroupVersion{{Version: "v1"}}, d.groupVersions()...)
	index := openAPIPaths{Paths: make(map[string]openAPILink, len(all))}
	for _, gv := range all {
		at := rootOf(gv)
		if at == path {
			return d.openAPIOf(gv, version)
		}
		index.Paths[at] = openAPILink{"/openapi/v3/" + at}
	}
	if path != "" {
		return nil
	}
	return index
}

// rootOf is the path below which a group and version are served.
func rootOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api/" + gv.Version
	}
	return "apis/" + gv.String()
}

func (d directory) openAPIOf(gv schema.GroupVersion, version string) openAPIDoc {
	doc := openAPIDoc{
		OpenAPI: "3.0.0", Info: openAPIInfo{Title: "The node's Kubernetes API; it has no schemas", Version: version},
		Paths: make(map[string]openAPIPath),
	}
	for _, r := range d.resources(gv).APIResources {
		if strings.Contains(r.Name, "/") {
			continue
		}
		path := "/" + rootOf(gv) + "/"
		if r.Namespaced {
			path += "namespaces/{namespace}/"
		}
		doc.Paths[path+r.Name+"/{name}"] = openAPIPath{Patch: openAPIOperation{
			Parameters: []openAPIParameter{{Name: "fieldValidation", In: "query", Schema: map[string]string{"type": "string"}}},
			Responses:  map[string]any{},
			Kind:       openAPIKind{gv.Group, gv.Version, r.Kind},
		}}
	}
	return doc
}
