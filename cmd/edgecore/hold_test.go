package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/memstore"
)

// holder is a node with one pod that is held, plant/web.
type holder struct{ err error }

func (h holder) Unhold(_ context.Context, namespace, name string) error {
	switch {
	case h.err != nil:
		return h.err
	case namespace == "plant" && name == "web":
		return nil
	case namespace == "plant" && name == "db":
		return fmt.Errorf("pod plant/db: %w", edged.ErrNotHeld)
	}
	return &edged.NoPodError{Namespace: namespace, Name: name}
}

func (h holder) UnholdAll(context.Context) ([]string, error) { return []string{"plant/web"}, h.err }

func TestUnholdPaths(t *testing.T) {
	const pods, nodes = "/api/v1/pods/unhold-upgrade", "/api/v1/nodes/unhold-upgrade"
	for _, tt := range []struct {
		method, path, body string
		err                error
		code               int
		text               string
	}{
		{http.MethodPost, pods, "plant/web\n", nil, 200, "pod plant/web is released"},
		{http.MethodPost, pods, "plant/db", nil, 400, "not held"},
		{http.MethodPost, pods, "plant/none", nil, 404, "no pod plant/none"},
		{http.MethodPost, pods, "web", nil, 400, "NAMESPACE/NAME"},
		{http.MethodPost, pods, "a/b/c", nil, 400, "NAMESPACE/NAME"},
		{http.MethodPost, pods, strings.Repeat("a", 2000), nil, 400, "too long"},
		{http.MethodPost, pods, "plant/web", errors.New("no disk"), 500, "no disk"},
		{http.MethodGet, pods, "", nil, 405, "POST"},
		{http.MethodPost, nodes, "", nil, 200, "1 pods are released: plant/web"},
		{http.MethodPost, nodes, "gate-7", nil, 200, "1 pods are released: plant/web"},
		{http.MethodPost, nodes, "gate-8", nil, 404, "another node"},
		{http.MethodPost, nodes, "", errors.New("no disk"), 500, "no disk"},
	} {
		paths := unholdPaths(holder{tt.err}, "gate-7")
		api, err := apiserver.New(apiserver.Config{Store: memstore.New(), Node: "gate-7", Extensions: paths})
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		api.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, strings.NewReader(tt.body)))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.text) {
			t.Errorf("%s %s %.20q: %d %s, want %d %s", tt.method, tt.path, tt.body, w.Code, w.Body, tt.code, tt.text)
		}
		w = httptest.NewRecorder()
		paths[tt.path].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodPost, tt.path, strings.NewReader(tt.body)))
		if w.Code != http.StatusForbidden {
			t.Errorf("somebody else: %d", w.Code)
		}
	}
}
