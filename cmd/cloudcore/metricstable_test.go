package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/metricstest"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestMetricsTable$ .

// emptyCluster is an API server that has nothing and stores nothing.
func emptyCluster(t *testing.T) *rest.Config {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost || r.Method == http.MethodPut {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(body)
			return
		}
		w.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound})
	}))
	t.Cleanup(s.Close)
	return &rest.Config{Host: s.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}
}

// assembled runs check with a cloudcore that has every part and runs none.
func assembled(t *testing.T, check func(*server)) {
	t.Helper()
	c, cfg := &cli{}, emptyCluster(t)
	p := program.Program{Name: "cloudcore", CLI: c, ConfigFile: filepath.Join(t.TempDir(), "none.yaml"), Stdout: io.Discard, Stderr: t.Output(), Command: func(command any) program.Runner {
		return func(ctx context.Context, _ program.Output) error {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			defer l.Close()
			s, err := command.(*runCmd).assemble(ctx, cfg, l, slog.New(slog.NewTextHandler(t.Output(), nil)))
			if err != nil {
				return err
			}
			defer s.edge.links.Close()
			check(s)
			return nil
		}
	}}
	if code := p.Run(t.Context(), []string{
		"--metrics-listen=127.0.0.1:0", "--kubelet-address", "127.0.0.1", "--no-quic", "--advertise", "127.0.0.1:10000", "--twins-listen", "127.0.0.1:0", "--twins-address", "192.0.2.1",
		"--impersonation", "constrained",
	}); code != 0 {
		t.Fatalf("exit %d", code)
	}
}

// TestMetricsTable: the published table has what cloudcore serves.
func TestMetricsTable(t *testing.T) {
	assembled(t, func(s *server) {
		metricstest.Table{Program: "cloudcore", Rows: metricstest.Read(t, quietKinds(), s.monitor.registry)}.Check(t)
	})
}

// quietKinds are the kinds of metrics that have no series in a cluster where nothing happens.
func quietKinds() metricstest.Kinds {
	kinds := make(metricstest.Kinds)
	for kind, names := range map[string]string{
		"gauge": `edgekit_fleet_nodes_by_version edgekit_hub_entering edgekit_hub_sessions edgekit_kubelet_sessions`,
	} {
		for name := range strings.FieldsSeq(names) {
			kinds[name] = kind
		}
	}
	return kinds
}
