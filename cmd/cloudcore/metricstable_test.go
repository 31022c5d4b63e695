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
	"sync"
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
		if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusCreated)
			_, _ = w.Write(body)
			return
		}
		if r.URL.Path == "/version" {
			_, _ = io.WriteString(w, `{"major":"1","minor":"37","gitVersion":"v1.37.2"}`)
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

// TestMonitor: what cloudcore's own port serves, and to whom.
func TestMonitor(t *testing.T) {
	assembled(t, func(s *server) {
		for path, want := range map[string]struct {
			code int
			says string
		}{
			"/metrics": {200, `edgekit_fleet_nodes{state="connected"} 0`}, "/sd": {200, "[]"}, "/sd?path=/metrics/probes": {200, "[]"}, "/sd?path=/x": {400, "the parameter path"},
			"/healthz": {200, "ok"}, "/readyz": {503, "caches are being filled"}, "/debug/pprof/heap": {401, "bearer token"}, "/debug/pprof/profile": {401, "bearer token"}, "/debug/pprof/": {404, ""},
		} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			r.RemoteAddr = "127.0.0.1:1"
			w := httptest.NewRecorder()
			s.monitor.handler.ServeHTTP(w, r)
			if w.Code != want.code || !strings.Contains(w.Body.String(), want.says) {
				t.Errorf("%s: %d %.200s", path, w.Code, w.Body)
			}
		}
	})
}

// stuck is a client that does not read.
type stuck struct {
	*httptest.ResponseRecorder
	writes chan<- struct{}
	read   <-chan struct{}
}

func (s stuck) Write(b []byte) (int, error) {
	s.writes <- struct{}{}
	<-s.read
	return len(b), nil
}

// TestMonitorFlood: clients that do not read get a bounded number of answers.
func TestMonitorFlood(t *testing.T) {
	assembled(t, func(s *server) {
		writes, read := make(chan struct{}), make(chan struct{})
		var clients sync.WaitGroup
		for range maxScrapes {
			clients.Go(func() {
				s.monitor.handler.ServeHTTP(stuck{httptest.NewRecorder(), writes, read}, httptest.NewRequest(http.MethodGet, "/sd", nil))
			})
			<-writes
		}
		for code, path := range map[int]string{503: "/sd", 200: "/metrics"} {
			w := httptest.NewRecorder()
			s.monitor.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != code {
				t.Errorf("%s: %d while clients are stuck", path, w.Code)
			}
		}
		close(read)
		clients.Wait()
		w := httptest.NewRecorder()
		if s.monitor.handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/sd", nil)); w.Code != http.StatusOK {
			t.Errorf("afterwards: %d", w.Code)
		}
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
