package nodeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// target is the resource that a request names.
type target struct {
	group, namespace, resource, name, sub string
}

func (t target) String() string { return strings.TrimSuffix(t.resource+"/"+t.sub, "/") }

// checkRequest refuses requests that a node may not make. With a token it refuses only requests
// without a single answer; the API server decides on all others. A request without a token is
// made as the node, which has more rights than this way should give: the list in
// checkNodeRequest decides.
func checkRequest(node string, want wire.Request) error {
	if !slices.Contains([]string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}, want.Method) {
		return fmt.Errorf("method %.20q", want.Method)
	}
	t, err := parseTarget(want)
	if err != nil {
		return err
	}
	if slices.Contains([]string{"proxy", "exec", "attach", "portforward", "log"}, t.sub) {
		return fmt.Errorf("%s is a stream", t)
	}
	if want.Token == "" {
		return checkNodeRequest(node, want, t)
	}
	if strings.ContainsAny(want.Token, " \r\n\t") || strings.Count(want.Token, ".") != 2 {
		return errors.New("the token does not have the form of a JSON Web Token")
	}
	return nil
}

// parseTarget reads the object of a request from its path.
func parseTarget(want wire.Request) (target, error) {
	var t target
	parts := strings.Split(strings.TrimPrefix(want.Path, "/"), "/")
	if want.Path != path.Clean(want.Path) || !strings.HasPrefix(want.Path, "/") ||
		!strings.HasPrefix(want.Path, "/api/v1/") && (parts[0] != "apis" || len(parts) < 4) {
		return t, fmt.Errorf("path %.200q names no resource", want.Path)
	}
	rest := parts[2:]
	if parts[0] == "apis" {
		t.group, rest = parts[1], parts[3:]
	}
	values, err := url.ParseQuery(want.Query)
	if err != nil {
		return t, fmt.Errorf("query: %w", err)
	}
	if rest[0] == "watch" || values.Has("watch") || values.Has("follow") {
		return t, errors.New("a watch is not a request with one answer")
	}
	if len(rest) > 2 && rest[0] == "namespaces" {
		t.namespace, rest = rest[1], rest[2:]
	}
	t.resource = rest[0]
	if len(rest) > 1 {
		t.name = rest[1]
	}
	if len(rest) > 2 {
		t.sub = rest[2]
	}
	return t, nil
}

// checkNodeRequest decides on a request that is made as the node. It allows what the node's
// administrator needs: reads, the deletion of the node's own pods, events, and the node's labels,
// of which NodeRestriction permits only harmless ones. The node's own reports have other ways,
// which cloudcore checks: status of Node and pods, Lease, annotations, tokens, certificates.
func checkNodeRequest(node string, want wire.Request, t target) error {
	core := t.group == ""
	switch {
	case t.group == "certificates.k8s.io", t.sub == "token", t.sub == "approval":
	case want.Method == http.MethodGet:
		return nil
	case core && t.resource == "pods" && t.name != "" && t.sub == "" && want.Method == http.MethodDelete,
		core && t.resource == "pods" && t.sub == "eviction" && want.Method == http.MethodPost,
		(core || t.group == "events.k8s.io") && t.resource == "events" && t.namespace != "" && t.sub == "" && want.Method != http.MethodDelete:
		return nil
	case core && t.resource == "nodes" && t.name == node && t.sub == "" && want.Method == http.MethodPatch:
		if onlyLabels(want) {
			return nil
		}
		return fmt.Errorf("of its own Node the node %s cannot patch anything but labels in this way", node)
	}
	verb := map[string]string{
		http.MethodGet: "get", http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
	}[want.Method]
	return fmt.Errorf("the administrator of node %s cannot %s resource %q in API group %q in this way: use a service account's token, or kubectl in the cloud", node, verb, t, t.group)
}

// onlyLabels reports whether a patch changes labels only.
func onlyLabels(want wire.Request) bool {
	kind := types.PatchType(want.ContentType)
	if kind != types.MergePatchType && kind != types.StrategicMergePatchType {
		return false
	}
	var patch map[string]map[string]json.RawMessage
	if jsonlimit.Unmarshal(want.Body, &patch) != nil || len(patch) != 1 || len(patch["metadata"]) != 1 {
		return false
	}
	var labels map[string]*string
	return jsonlimit.Unmarshal(patch["metadata"]["labels"], &labels) == nil
}
