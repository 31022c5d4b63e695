package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/edgekit/edgekit/edged"
)

// maxHoldBody bounds the body of a release in bytes: a namespace and a name.
const maxHoldBody = 1 << 10

// unholder releases pods that wait; see edged.HoldUpgradeAnnotation.
type unholder interface {
	Unhold(ctx context.Context, namespace, name string) error
	UnholdAll(ctx context.Context) ([]string, error)
}

// unholdPaths are KubeEdge's paths by which somebody at the site releases pods: one, by
// NAMESPACE/NAME in the body, or all of the node, by its name or an empty body. Only the
// node's administrator may.
func unholdPaths(agent unholder, node string) map[string]http.Handler {
	return map[string]http.Handler{
		"/api/v1/pods/unhold-upgrade": unholdHandler(func(ctx context.Context, body string) (string, error) {
			namespace, name, ok := strings.Cut(body, "/")
			if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
				return "", badUnhold("the body must be NAMESPACE/NAME of a pod")
			}
			return fmt.Sprintf("pod %s is released\n", body), agent.Unhold(ctx, namespace, name)
		}),
		"/api/v1/nodes/unhold-upgrade": unholdHandler(func(ctx context.Context, body string) (string, error) {
			if body != "" && body != node {
				return "", otherNode(node)
			}
			names, err := agent.UnholdAll(ctx)
			return fmt.Sprintf("%d pods are released: %s\n", len(names), strings.Join(names, ", ")), err
		}),
	}
}

// badUnhold is an error of the client.
type badUnhold string

// Error is what the client did wrong.
func (e badUnhold) Error() string { return string(e) }

// otherNode is the error of a request that is meant for another node than this.
type otherNode string

// Error names this node.
func (e otherNode) Error() string { return "the body names another node than this one, " + string(e) }

// NotFound reports true.
func (otherNode) NotFound() bool { return true }

// unholdHandler answers a release in text.
func unholdHandler(release func(ctx context.Context, body string) (string, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			http.Error(w, "use POST", http.StatusMethodNotAllowed)
			return
		}
		if !onlyAdmin(w, r, "release pods") {
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHoldBody))
		if err != nil {
			http.Error(w, "the body is too long", http.StatusBadRequest)
			return
		}
		text, err := release(r.Context(), strings.TrimSpace(string(body)))
		var none interface{ NotFound() bool }
		var bad badUnhold
		switch {
		case err == nil:
			_, _ = io.WriteString(w, text) // a client that is gone needs no answer
		case errors.As(err, &none):
			http.Error(w, err.Error(), http.StatusNotFound)
		case errors.Is(err, edged.ErrNotHeld), errors.As(err, &bad):
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
}
