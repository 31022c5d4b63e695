package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/controller/install/monitoring"
	"github.com/edgekit/edgekit/controller/install/monitoring/alertstest"
)

// faster divides the times of the rules; scrapes come every scrapeEvery.
const (
	faster      = 120
	scrapeEvery = "500ms"
)

// target is one target of Prometheus.
type target struct{ job, address, instance, node string }

// prometheusServer is the real Prometheus.
type prometheusServer struct{ address string }

// startPrometheus starts it with targets, and with one job that finds its own.
func startPrometheus(t *testing.T, discovery map[string]any, targets ...target) *prometheusServer {
	t.Helper()
	path := alertstest.Program(t, "..", "prometheus")
	dir := t.TempDir()
	rules, err := monitoring.RuleFile(monitoring.Config{Faster: faster})
	if err != nil {
		t.Fatal(err)
	}
	var scrapes []map[string]any
	for _, job := range []string{"cloudcore", "edgecore", "mappers"} {
		var static []map[string]any
		for _, at := range targets {
			if at.job == job {
				labels := map[string]string{"instance": at.instance}
				if at.node != "" {
					labels["node"] = at.node
				}
				static = append(static, map[string]any{"targets": []string{at.address}, "labels": labels})
			}
		}
		scrapes = append(scrapes, map[string]any{"job_name": job, "static_configs": static})
	}
	scrapes = append(scrapes, discovery)
	config, err := yaml.Marshal(map[string]any{
		"global":         map[string]string{"scrape_interval": scrapeEvery, "scrape_timeout": scrapeEvery, "evaluation_interval": "250ms"},
		"rule_files":     []string{"rules.yaml"},
		"scrape_configs": scrapes,
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"rules.yaml": rules, "prometheus.yml": config} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &prometheusServer{address: freeAddress(t)}
	newProgram(t, path, nil, "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.address, "--log.level=warn").start(t)
	until(t, time.Minute, func() string {
		_, err := p.get(t.Context(), "/-/ready", nil)
		return message(err)
	})
	return p
}

func (p *prometheusServer) get(ctx context.Context, path string, form url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+path+"?"+form.Encode(), nil)
	if err != nil {
		return nil, err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("prometheus: %s: %s", answer.Status, body)
	}
	return body, err
}

// query returns how many series an expression has now.
func (p *prometheusServer) query(ctx context.Context, expr string) (int, error) {
	body, err := p.get(ctx, "/api/v1/query", url.Values{"query": {expr}})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	err = json.Unmarshal(body, &answer)
	return len(answer.Data.Result), err
}

// firing lists the alerts that fire, as "name" and as "name of instance".
func (p *prometheusServer) firing(ctx context.Context) ([]string, error) {
	body, err := p.get(ctx, "/api/v1/alerts", nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	var out []string
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			out = append(out, a.Labels["alertname"])
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// fire waits until each of the alerts has fired.
func (p *prometheusServer) fire(t *testing.T, limit time.Duration, names ...string) {
	t.Helper()
	seen := make(map[string]bool)
	began := time.Now()
	until(t, limit, func() string {
		now, err := p.firing(t.Context())
		if err != nil {
			return err.Error()
		}
		for _, name := range now {
			if !seen[name] && slices.Contains(names, name) {
				t.Logf("%6.1f s: %s fires", time.Since(began).Seconds(), name)
			}
			seen[name] = true
		}
		var missing []string
		for _, name := range names {
			if !seen[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			return ""
		}
		return "these alerts do not fire: " + strings.Join(missing, ", ")
	})
}

// resolve waits until none of the alerts fires.
func (p *prometheusServer) resolve(t *testing.T, limit time.Duration, names ...string) {
	t.Helper()
	began := time.Now()
	until(t, limit, func() string {
		now, err := p.firing(t.Context())
		if err != nil {
			return err.Error()
		}
		var still []string
		for _, name := range now {
			if slices.Contains(names, name) {
				still = append(still, name)
			}
		}
		if len(still) == 0 {
			return ""
		}
		return "these alerts fire although their cause is mended: " + strings.Join(still, ", ")
	})
	t.Logf("%6.1f s: resolved: %s", time.Since(began).Seconds(), strings.Join(names, ", "))
}
