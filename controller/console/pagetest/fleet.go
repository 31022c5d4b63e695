package pagetest

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Hostile texts: none of them may do anything in a browser. Attacked is the name of a property of
// window that each of them would set if it ran.
const (
	Attacked = "attacked"
	Script   = `"><img src=x onerror="window.attacked=1"><script>window.attacked=1</script>`
	URL      = `javascript:window.attacked=1`
	Terminal = "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b[2J\x1b[H \x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\ \u202egnp.exe \x00\x08"
)

type nodeItem struct {
	Name    string `json:"name"`
	Site    string `json:"site"`
	State   string `json:"state"`
	Ready   bool   `json:"ready"`
	Version string `json:"version"`
	Since   string `json:"since"`
	Pods    int    `json:"pods"`
	Address string `json:"address"`
}

// fleet is what the server makes up: always the same for the same number of nodes.
type fleet struct {
	cfg   Config
	start time.Time
	list  []nodeItem
}

var sites = []string{"berlin-mitte", "hamburg-port", "lyon-est", "porto-1", "kyiv-north", "oslo-fjord", "graz", "turin-plant", "brno", "ghent-dc"} //nolint:gochecknoglobals // a constant list

func newFleet(cfg Config) *fleet {
	f := &fleet{cfg: cfg, start: time.Now()}
	for i := range max(0, cfg.Nodes) {
		n := nodeItem{
			Name: fmt.Sprintf("edge-%06d", i), Site: sites[(i*7+i/90)%len(sites)], State: "connected", Ready: true, Version: "v0.9.2",
			Since: f.ago(time.Duration(i%700+3) * 17 * time.Minute), Pods: 3 + i%9, Address: fmt.Sprintf("10.%d.%d.%d", i>>16&255, i>>8&255, i&255),
		}
		if n.Site == "kyiv-north" && i%4 == 0 || i%61 == 0 {
			n.State, n.Ready = "disconnected", false
		}
		if i%251 == 7 {
			n.State = "unknown"
		}
		if i%9 == 2 {
			n.Version = "v0.9.1"
		}
		if i%83 == 4 {
			n.Version = "v0.8.7"
		}
		f.list = append(f.list, n)
	}
	if cfg.Hostile && len(f.list) > 0 {
		f.list[0].Site, f.list[0].Version, f.list[0].Address = Script, Terminal, URL
	}
	return f
}

func (f *fleet) ago(d time.Duration) string { return f.start.Add(-d).UTC().Format(time.RFC3339) }

// hostile returns the attack where there are any, else the plain text.
func (f *fleet) hostile(attack, plain string) string {
	if f.cfg.Hostile {
		return attack
	}
	return plain
}

func (f *fleet) summary(tick int) map[string]any {
	counts := map[string]int{}
	versions := map[string]int{}
	total, connected := map[string]int{}, map[string]int{}
	notReady := 0
	for _, n := range f.list {
		counts[n.State]++
		versions[n.Version]++
		total[n.Site]++
		if n.State == "connected" {
			connected[n.Site]++
		}
		if !n.Ready {
			notReady++
		}
	}
	if tick%2 == 1 && counts["connected"] > 0 { // something changes
		counts["connected"]--
		counts["disconnected"]++
	}
	type version struct {
		Version string `json:"version"`
		Count   int    `json:"count"`
	}
	type site struct {
		Name      string `json:"name"`
		Total     int    `json:"total"`
		Connected int    `json:"connected"`
	}
	vs, ss := []version{}, []site{}
	for v, n := range versions {
		vs = append(vs, version{v, n})
	}
	for name, n := range total {
		ss = append(ss, site{name, n, connected[name]})
	}
	slices.SortFunc(vs, func(a, b version) int { return cmp.Compare(b.Count, a.Count) })
	slices.SortFunc(ss, func(a, b site) int {
		return cmp.Or(cmp.Compare(b.Total-b.Connected, a.Total-a.Connected), cmp.Compare(a.Name, b.Name))
	})
	return map[string]any{
		"nodes":    map[string]int{"total": len(f.list), "connected": counts["connected"], "disconnected": counts["disconnected"], "unknown": counts["unknown"], "notReady": notReady},
		"versions": vs, "sites": ss, "sitesTotal": len(ss), "jobs": map[string]int{"active": min(2, len(f.list))},
		"devices": map[string]int{"total": 3 * len(f.list), "online": 3*len(f.list) - len(f.list)/11},
	}
}

// changed returns a node whose state changes with each tick.
func (f *fleet) changed(tick int) []nodeItem {
	if len(f.list) < 2 {
		return nil
	}
	n := f.list[1]
	if tick%2 == 1 {
		n.State = "disconnected"
	}
	return []nodeItem{n}
}

// value is what a device reports.
func (f *fleet) value(tick int) map[string]any {
	return map[string]any{
		"property": "temperature", "time": time.Now().UTC().Format(time.RFC3339Nano),
		"value": strconv.FormatFloat(21.4+1.8*math.Sin(float64(tick)/9)+0.3*math.Sin(float64(tick)), 'f', 2, 64),
	}
}

func (f *fleet) logLine(n int) string {
	at := f.start.Add(time.Duration(n-500) * 3 * time.Second).UTC().Format("2006-01-02T15:04:05.000Z")
	if f.cfg.Hostile {
		return at + " " + Terminal + " " + Script
	}
	switch n % 7 {
	case 3:
		return at + " \x1b[33mWARN\x1b[0m  slow reading register=40012 took=212ms"
	case 5:
		return at + " INFO  published topic=plant/line2/temperature value=21.7 retained=false"
	}
	return fmt.Sprintf("%s INFO  read device=thermometer-%d value=%.1f", at, n%4, 20+float64(n%30)/10)
}

// list writes a page of a list: the cursor is the number of its first item.
func list[T any](w http.ResponseWriter, r *http.Request, items []T) {
	limit, err := strconv.Atoi(cmp.Or(r.URL.Query().Get("limit"), "50"))
	first, err2 := strconv.Atoi(cmp.Or(r.URL.Query().Get("cursor"), "0"))
	if err != nil || err2 != nil || limit < 1 || limit > 200 || first < 0 || first > len(items) {
		fail(w, http.StatusBadRequest, "limit must be 1 to 200, and cursor one that was given")
		return
	}
	end := min(len(items), first+limit)
	out := map[string]any{"items": append([]T{}, items[first:end]...), "total": len(items)}
	if end < len(items) {
		out["next"] = strconv.Itoa(end)
	}
	answer(w, out)
}

func (s *Server) summary(w http.ResponseWriter, _ *http.Request) { answer(w, s.fleet.summary(0)) }

func (s *Server) nodes(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	search, state, site := strings.ToLower(q.Get("search")), q.Get("state"), q.Get("site")
	var out []nodeItem
	for _, n := range s.fleet.list {
		if (search == "" || strings.Contains(n.Name+" "+n.Site, search)) && (state == "" || n.State == state) && (site == "" || n.Site == site) {
			out = append(out, n)
		}
	}
	by, down := strings.CutPrefix(q.Get("sort"), "-")
	slices.SortStableFunc(out, func(a, b nodeItem) int {
		c := 0
		switch by {
		case "site":
			c = cmp.Compare(a.Site, b.Site)
		case "state":
			c = cmp.Compare(a.State, b.State)
		case "version":
			c = cmp.Compare(a.Version, b.Version)
		case "since":
			c = cmp.Compare(a.Since, b.Since)
		}
		if c = cmp.Or(c, cmp.Compare(a.Name, b.Name)); down {
			return -c
		}
		return c
	})
	list(w, r, out)
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) (nodeItem, bool) {
	for _, n := range s.fleet.list {
		if n.Name == r.PathValue("name") {
			return n, true
		}
	}
	fail(w, http.StatusNotFound, fmt.Sprintf("nodes %q not found", r.PathValue("name")))
	return nodeItem{}, false
}

func (s *Server) node(w http.ResponseWriter, r *http.Request) {
	n, ok := s.find(w, r)
	if !ok {
		return
	}
	f := s.fleet
	labels := map[string]string{"kubernetes.io/arch": "arm64", "kubernetes.io/os": "linux", "node-role.kubernetes.io/edge": "", "topology.kubernetes.io/zone": n.Site}
	if s.cfg.Hostile {
		labels["example.org/evil"], labels["example.org/url"], labels["example.org/terminal"] = Script, URL, Terminal
	}
	answer(w, map[string]any{
		"name": n.Name, "site": n.Site, "state": n.State, "ready": n.Ready, "version": n.Version, "since": n.Since, "pods": n.Pods, "address": n.Address,
		"labels": labels,
		"conditions": []map[string]any{
			{"type": "Ready", "status": map[bool]string{true: "True", false: "False"}[n.Ready], "reason": "EdgecoreReady", "message": f.hostile(Script, "edgecore posts ready status"), "since": n.Since},
			{"type": "DiskPressure", "status": "False", "reason": "HasNoDiskPressure", "message": "edgecore has no disk pressure", "since": n.Since},
			{"type": "MemoryPressure", "status": "False", "reason": "HasSufficientMemory", "message": "edgecore has sufficient memory", "since": n.Since},
		},
		"link": map[string]any{"cloudcore": "cloudcore-7d4f9-x2x8q", "transport": "quic", "connectedAt": n.Since},
	})
}

func (s *Server) part(w http.ResponseWriter, r *http.Request) {
	n, ok := s.find(w, r)
	if !ok {
		return
	}
	f := s.fleet
	switch r.PathValue("part") {
	case "pods":
		var pods []map[string]any
		for i, name := range []string{"camera-gateway-x8k2p", "modbus-mapper-0", "node-exporter-4dqlz", "line-dashboard-5f6c7d-9mz4w"} {
			pods = append(pods, map[string]any{
				"namespace": []string{"plant", "plant", "monitoring", "plant"}[i], "name": name, "phase": []string{"Running", "Running", "Running", "Pending"}[i],
				"ready": i < 3, "restarts": i * 2, "since": f.ago(time.Duration(i*31+5) * time.Hour), "containers": []string{"main", "sidecar"}[:1+i%2],
			})
		}
		list(w, r, pods)
	case "devices":
		list(w, r, f.devices(n.Name))
	case "events":
		list(w, r, []map[string]any{
			{"time": f.ago(2 * time.Minute), "type": "Normal", "reason": "Pulled", "object": "Pod/plant/modbus-mapper-0", "message": f.hostile(Script+Terminal, "Container image is already present on the machine"), "count": 1},
			{"time": f.ago(9 * time.Minute), "type": "Warning", "reason": "Unhealthy", "object": "Pod/plant/line-dashboard-5f6c7d-9mz4w", "message": "Readiness probe failed: HTTP probe failed with statuscode: 503", "count": 14},
			{"time": f.ago(48 * time.Minute), "type": "Normal", "reason": "NodeConnected", "object": "Node/" + n.Name, "message": "The node's link to cloudcore-7d4f9-x2x8q is up", "count": 1},
		})
	default:
		fail(w, http.StatusNotFound, "no such part")
	}
}

func (f *fleet) devices(node string) []map[string]any {
	var out []map[string]any
	for i, kind := range []string{"thermometer", "conveyor", "camera"} {
		out = append(out, map[string]any{
			"namespace": "plant", "name": kind + "-" + strings.TrimPrefix(node, "edge-"), "state": []string{"online", "online", "offline"}[i],
			"model": f.hostile(Script, kind+"-model"), "lastOnline": f.ago(time.Duration(i*i*40+1) * time.Second), "node": node,
		})
	}
	return out
}

func (s *Server) devices(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var out []map[string]any
	for _, n := range s.fleet.list[:min(500, len(s.fleet.list))] {
		for _, d := range s.fleet.devices(n.Name) {
			name, _ := d["name"].(string)
			if strings.Contains(name, strings.ToLower(q.Get("search"))) && (q.Get("state") == "" || d["state"] == q.Get("state")) && (q.Get("node") == "" || d["node"] == q.Get("node")) {
				out = append(out, d)
			}
		}
	}
	list(w, r, out)
}

func (s *Server) device(w http.ResponseWriter, r *http.Request) {
	f := s.fleet
	node := "edge-" + r.PathValue("name")[strings.LastIndex(r.PathValue("name"), "-")+1:]
	answer(w, map[string]any{
		"namespace": r.PathValue("ns"), "name": r.PathValue("name"), "state": "online", "model": "thermometer-model", "lastOnline": f.ago(time.Second), "node": node,
		"twins": []map[string]any{
			{"property": "temperature", "reported": "21.40", "reportedAt": time.Now().UTC().Format(time.RFC3339), "unit": f.hostile(Script, "°C")},
			{"property": "interval", "desired": "5", "reported": "10", "reportedAt": f.ago(70 * time.Minute), "unit": "s"},
			{"property": "heating", "desired": "true", "reported": "true", "reportedAt": f.ago(26 * time.Minute)},
			{"property": "label", "reported": f.hostile(Terminal+Script, "hall 2, line B"), "reportedAt": f.ago(50 * time.Hour)},
		},
	})
}

func (s *Server) jobList() []map[string]any {
	s.mu.Lock()
	paused := s.paused
	s.mu.Unlock()
	n := s.cfg.Nodes
	actions := []string{"pause", "cancel"}
	if paused {
		actions = []string{"resume", "cancel"}
	}
	f := s.fleet
	return []map[string]any{
		{"kind": "NodeUpgradeJob", "name": "upgrade-to-0.9.2", "phase": "InProgress", "reason": "WindowClosed", "message": "12 nodes wait for window.apply, which opens at 22:00 UTC", "total": n, "done": n * 6 / 10, "failed": n / 100, "paused": paused, "created": f.ago(3 * time.Hour), "actions": actions},
		{"kind": "ImagePrePullJob", "name": "camera-images-2026-11", "phase": "InProgress", "total": n / 4, "done": n / 8, "failed": 0, "created": f.ago(20 * time.Minute), "actions": []string{}},
		{"kind": "ConfigUpdateJob", "name": "log-level-info", "phase": "Completed", "total": n, "done": n, "failed": 0, "created": f.ago(9 * 24 * time.Hour)},
		{"kind": "NodeUpgradeJob", "name": "upgrade-to-0.9.1", "phase": "Failure", "reason": "FailureTolerate", "message": f.hostile(Script, "more than 10% of the nodes failed"), "total": n, "done": n / 9, "failed": n / 9, "created": f.ago(41 * 24 * time.Hour)},
	}
}

func (s *Server) jobs(w http.ResponseWriter, r *http.Request) { list(w, r, s.jobList()) }

func (s *Server) job(w http.ResponseWriter, r *http.Request) {
	for _, j := range s.jobList() {
		if j["kind"] != r.PathValue("kind") || j["name"] != r.PathValue("name") {
			continue
		}
		var nodes []map[string]any
		for i, n := range s.fleet.list[:min(120, len(s.fleet.list))] {
			phase, message := "Successful", ""
			switch i % 5 {
			case 1:
				phase = "InProgress"
			case 2:
				phase, message = "RolledBack", s.fleet.hostile(Script, "edgecore did not become ready within 120s: went back to v0.9.1")
			case 3:
				phase = "Pending"
			}
			nodes = append(nodes, map[string]any{"node": n.Name, "phase": phase, "message": message, "time": s.fleet.ago(time.Duration(i) * time.Minute)})
		}
		j["counts"] = map[string]int{"pending": s.cfg.Nodes / 3, "inProgress": 12, "away": 4}
		j["nodes"] = map[string]any{"items": nodes[:min(50, len(nodes))], "total": len(nodes)}
		answer(w, j)
		return
	}
	fail(w, http.StatusNotFound, "there is no such job")
}
