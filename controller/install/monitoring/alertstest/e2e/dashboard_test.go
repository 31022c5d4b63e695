package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/install/monitoring"
)

// nodeNamespace is where the Leases of cloudcores are.
const nodeNamespace = "edgekit-system"

// checkDashboard has Prometheus answer each query of the dashboard with series.
func checkDashboard(t *testing.T, p *prometheusServer) {
	t.Helper()
	text, err := monitoring.Dashboard(monitoring.Config{Faster: faster})
	if err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	queries := 0
	until(t, patience, func() string {
		var empty []string
		queries = 0
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				queries++
				expr := strings.NewReplacer("$__rate_interval", "10s", "$node", node).Replace(target.Expr)
				if n, err := p.query(t.Context(), expr); err != nil || n == 0 {
					empty = append(empty, fmt.Sprintf("%s: %s (%v)", panel.Title, expr, err))
				}
			}
		}
		if len(empty) > 0 {
			return "these queries of the dashboard return no series:\n" + strings.Join(empty, "\n")
		}
		return ""
	})
	t.Logf("RESULT dashboard_queries %d count", queries)
}
