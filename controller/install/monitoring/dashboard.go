package monitoring

import (
	"encoding/json"
	"fmt"
	"strings"
)

// DashboardUID is the identity of the dashboard in Grafana: an import replaces the one before.
const DashboardUID = "edgekit-fleet"

// panel is the source of one panel. $cloudcores and $nodes in queries are the matchers of the jobs, $one
// that of the node that is looked at.
type panel struct {
	kind    string // stat or timeseries
	title   string
	help    string
	unit    string // Grafana's name of it
	queries []query
}

type query struct{ expr, legend string }

// row is a line of the dashboard with its panels.
type row struct {
	title  string
	panels []panel
}

const (
	gridWidth   = 24 // Grafana's
	statWidth   = 4
	statHeight  = 4
	graphWidth  = 8
	graphHeight = 8
)

// Dashboard returns the dashboard for Grafana: the fleet, one node, and devices. Its data source and the
// node are variables.
func Dashboard(cfg Config) ([]byte, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	var panels []any
	y, id := 0, 0
	next := func() int { id++; return id }
	for _, r := range rows() {
		panels = append(panels, map[string]any{
			"type": "row", "title": r.title, "id": next(), "collapsed": false, "panels": []any{},
			"gridPos": grid{W: gridWidth, H: 1, Y: y},
		})
		y++
		place := placer{y: y}
		for _, p := range r.panels {
			panels = append(panels, cfg.panel(p, next(), place.next(p.kind)))
		}
		y = place.end()
	}
	text, err := json.MarshalIndent(map[string]any{
		"uid": DashboardUID, "title": "edgekit", "tags": []string{"edgekit"}, "schemaVersion": 39, "version": 1, "editable": true,
		"refresh": "30s", "time": map[string]string{"from": "now-6h", "to": "now"}, "timezone": "browser",
		"templating":  map[string]any{"list": cfg.variables()},
		"annotations": map[string]any{"list": []any{}}, "links": []any{}, "panels": panels,
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("monitoring: %w", err)
	}
	return append(text, '\n'), nil
}

// DashboardConfigMap returns the dashboard as a ConfigMap with the label by which the sidecar of
// Grafana's chart finds dashboards.
func DashboardConfigMap(cfg Config) ([]byte, error) {
	text, err := Dashboard(cfg)
	if err != nil {
		return nil, err
	}
	cfg, err = cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	return marshal(struct {
		object
		Data map[string]string `json:"data"`
	}{
		object{"v1", "ConfigMap", metadata{"edgekit-dashboard", cfg.Namespace, map[string]string{"app.kubernetes.io/part-of": "edgekit", "grafana_dashboard": "1"}}},
		map[string]string{"edgekit.json": string(text)},
	})
}

// grid is a place in Grafana's grid.
type grid struct {
	X int `json:"x"`
	Y int `json:"y"`
	W int `json:"w"`
	H int `json:"h"`
}

// placer places panels from left to right, in lines of panels of one height.
type placer struct{ x, y, high int }

func (p *placer) next(kind string) grid {
	w, h := graphWidth, graphHeight
	if kind == "stat" {
		w, h = statWidth, statHeight
	}
	if p.high != 0 && (h != p.high || p.x+w > gridWidth) {
		p.x, p.y = 0, p.y+p.high
	}
	g := grid{X: p.x, Y: p.y, W: w, H: h}
	p.x, p.high = p.x+w, h
	return g
}

// end is the first free line.
func (p *placer) end() int { return p.y + p.high }

func source() map[string]string {
	return map[string]string{"type": "prometheus", "uid": "${datasource}"}
}

func (c Config) panel(p panel, id int, place grid) map[string]any {
	var targets []any
	for i, q := range p.queries {
		targets = append(targets, map[string]any{
			"refId": string(rune('A' + i)), "expr": c.query(q.expr), "legendFormat": q.legend, "datasource": source(), "instant": p.kind == "stat",
		})
	}
	return map[string]any{
		"id": id, "type": p.kind, "title": p.title, "description": p.help, "datasource": source(), "gridPos": place, "targets": targets,
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.unit}, "overrides": []any{}},
	}
}

// query fills in the jobs and the node.
func (c Config) query(expr string) string {
	return c.expression(strings.ReplaceAll(expr, "$one", `$nodes, node="$node"`))
}

// variables are what the reader chooses: where the series are, and a node.
func (c Config) variables() []any {
	nodes := c.query(`label_values(up{$nodes}, node)`)
	return []any{
		map[string]any{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
		map[string]any{
			"name": "node", "label": "Node", "type": "query", "datasource": source(), "refresh": 2, "sort": 1,
			"definition": nodes, "query": map[string]string{"query": nodes, "refId": "node"},
		},
	}
}
