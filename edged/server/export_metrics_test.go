package server_test

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/edged/server"
)

// metricsServer is a Server whose exporters write the text, or fail.
func metricsServer(t *testing.T, text string, failure error) http.Handler {
	t.Helper()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "process_start", Help: "x"})
	n := newNode(t)
	s, err := server.New(server.Config{
		Node: "gate-7", Pods: n, Runtime: n, SLIs: []prometheus.Collector{gauge},
		Cadvisor: func(_ context.Context, w io.Writer) error {
			if failure != nil {
				return failure
			}
			_, err := io.WriteString(w, text)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func get(h http.Handler, path, encoding string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestCompressed: an answer is compressed for those who take that.
func TestCompressed(t *testing.T) {
	text := strings.Repeat("container_last_seen{} 1\n", 1000)
	h := metricsServer(t, text, nil)
	for encoding, zipped := range map[string]bool{"": false, "gzip": true, "deflate, GZIP;q=0.5": true, "gzip;q=0": false, "gzip; q=0.0": false, "br": false, "gzip;q=x": false} {
		w := get(h, "/metrics/cadvisor", encoding)
		body := io.Reader(w.Body)
		size := w.Body.Len()
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != zipped {
			t.Errorf("%q: compressed is %v", encoding, got)
			continue
		}
		if zipped {
			zip, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			body = zip
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != text || zipped && size > len(text)/10 {
			t.Errorf("%q: %d bytes, %d of them, %v", encoding, size, len(got), err)
		}
	}
}

// TestExportFails: the client sees why there are no metrics.
func TestExportFails(t *testing.T) {
	h := metricsServer(t, "", errors.New("no luck"))
	for _, encoding := range []string{"", "gzip"} {
		w := get(h, "/metrics/cadvisor", encoding)
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), "no luck") || w.Header().Get("Content-Encoding") != "" {
			t.Errorf("%q: %d %q %q", encoding, w.Code, w.Body, w.Header())
		}
	}
}

// TestRequestMetrics: requests are counted by path; unknown ones share one label.
func TestRequestMetrics(t *testing.T) {
	h := metricsServer(t, "", nil)
	for _, path := range []string{"/metrics/cadvisor", "/pods", "/pods", "/x/y", "/z", "/metrics/slis", "/healthz/ping"} {
		get(h, path, "")
	}
	r := httptest.NewRequest("BREW", "/pods", nil)
	h.ServeHTTP(httptest.NewRecorder(), r)
	text := get(h, "/metrics", "").Body.String()
	const rest = `server_type="readwrite"} `
	for _, want := range []string{
		`kubelet_http_requests_total{long_running="false",method="GET",path="metrics/cadvisor",` + rest + "1", `kubelet_http_requests_total{long_running="false",method="GET",path="pods",` + rest + "2",
		`kubelet_http_requests_total{long_running="false",method="GET",path="other",` + rest + "2", `kubelet_http_requests_total{long_running="false",method="other",path="pods",` + rest + "1",
		`kubelet_http_requests_duration_seconds_count{long_running="false",method="GET",path="healthz",` + rest + "1", `kubelet_http_inflight_requests{long_running="false",method="GET",path="metrics",` + rest + "1",
		`kubelet_http_inflight_requests{long_running="false",method="GET",path="pods",` + rest + "0",
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if w := get(h, "/metrics/slis", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "process_start 0") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
