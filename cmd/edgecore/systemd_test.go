package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestHealthy: the watchdog is fed only while the store can be read and both servers answer.
func TestHealthy(t *testing.T) {
	dir, err := os.MkdirTemp("", "ek") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store := memstore.New()
	defer store.Close()
	serve := func(name string) *httptest.Server {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewUnstartedServer(http.NotFoundHandler())
		s.Listener = l
		s.Start()
		return s
	}
	if err := healthy(t.Context(), store, dir); err == nil || !strings.Contains(err.Error(), apiSocket) {
		t.Error("no server:", err)
	}
	api := serve(apiSocket)
	if err := healthy(t.Context(), store, dir); err == nil || !strings.Contains(err.Error(), kubeletSocket) {
		t.Error("one server:", err)
	}
	kubelet := serve(kubeletSocket)
	defer kubelet.Close()
	if err := healthy(t.Context(), store, dir); err != nil {
		t.Error(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := healthy(ended, store, dir); err == nil {
		t.Error("healthy though nothing was asked")
	}
	api.Close()
	if err := healthy(t.Context(), store, dir); err == nil {
		t.Error("healthy without the node's own API")
	}
}

// TestLinkPath: only the node's administrator sees the link.
func TestLinkPath(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	mgr, err := manager.New(manager.Config{Store: store, Node: "edge-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.NodeConnection(t.Context(), hub.Info{Node: "edge-1", Connected: true, Transport: "quic"}); err != nil {
		t.Fatal(err)
	}
	paths := linkPaths(&node{name: "edge-1", cloud: "cloud:1"}, mgr)
	w := httptest.NewRecorder()
	paths[linkstate.Path].ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, linkstate.Path, nil))
	if w.Code != http.StatusForbidden {
		t.Error(w.Code, w.Body)
	}
	text, err := json.Marshal(linkOf(&node{name: "edge-1", cloud: "cloud:1"}, mgr.Connection()))
	if err != nil || !strings.Contains(string(text), `"connected":true`) {
		t.Error(string(text), err)
	}
}
