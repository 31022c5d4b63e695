package console_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/console"
)

// named has the names of a list.
type named struct {
	Items []struct{ Namespace, Name, State, Site string } `json:"items"`
	Next  string
	Total int
}

func (n named) names() string {
	var all []string
	for _, i := range n.Items {
		all = append(all, i.Name)
	}
	return strings.Join(all, " ")
}

// TestLists reads the lists as users with all rights, rights in one namespace, and none.
func TestLists(t *testing.T) {
	w := newWorld(t, console.Config{})
	for _, tt := range []struct {
		user, path string
		code       int
		names      string
		total      int
	}{
		{"viewer", "nodes", 200, "edge-1 edge-2 edge-3", 3},
		{"viewer", "nodes?sort=-name&limit=2", 200, "edge-3 edge-2", 3},
		{"viewer", "nodes?sort=state", 200, "edge-1 edge-2 edge-3", 3},
		{"viewer", "nodes?sort=-since", 200, "edge-2 edge-1 edge-3", 3},
		{"viewer", "nodes?state=disconnected", 200, "edge-2", 1},
		{"viewer", "nodes?state=unknown&sort=-name", 200, "edge-3", 1},
		{"viewer", "nodes?site=north", 200, "edge-1 edge-2", 2},
		{"viewer", "nodes?site=north&state=connected", 200, "edge-1", 1},
		{"viewer", "nodes?search=SOUTH", 200, "edge-3", 1},
		{"viewer", "nodes?search=none", 200, "", 0},
		{"viewer", "nodes?state=odd", 400, "", 0},
		{"viewer", "nodes?sort=odd", 400, "", 0},
		{"viewer", "nodes?limit=0", 400, "", 0},
		{"viewer", "nodes?cursor=odd", 400, "", 0},
		{"plant", "nodes", 403, "", 0},
		{"nobody", "nodes", 403, "", 0},
		{"viewer", "nodes/edge-1", 200, "", 0},
		{"viewer", "nodes/edge-9", 404, "", 0},
		{"nobody", "nodes/edge-1", 403, "", 0},
		{"viewer", "nodes/edge-1/pods", 200, "b a", 2},
		{"plant", "nodes/edge-1/pods", 200, "a", 1},
		{"plant", "nodes/edge-1/pods?namespace=office", 403, "", 0},
		{"nobody", "nodes/edge-1/pods", 403, "", 0},
		{"viewer", "nodes/edge-1/devices", 200, "lamp boiler", 2},
		{"plant", "nodes/edge-1/devices", 200, "boiler", 1},
		{"viewer", "devices", 200, "lamp boiler pump", 3},
		{"viewer", "devices?sort=-state", 200, "boiler lamp pump", 3},
		{"viewer", "devices?state=offline", 200, "pump", 1},
		{"viewer", "devices?node=edge-1&state=ok", 200, "lamp", 1},
		{"viewer", "devices?namespace=plant", 200, "boiler pump", 2},
		{"plant", "devices", 200, "boiler pump", 2},
		{"plant", "devices?namespace=office", 403, "", 0},
		{"nobody", "devices", 403, "", 0},
		{"viewer", "devices/plant/boiler", 200, "", 0},
		{"plant", "devices/office/lamp", 403, "", 0},
		{"viewer", "devices/plant/none", 404, "", 0},
		{"viewer", "jobs", 200, "up", 1},
		{"plant", "jobs", 403, "", 0},
		{"viewer", "jobs/NodeUpgradeJob/up", 200, "", 2},
		{"viewer", "jobs/NodeUpgradeJob/none", 404, "", 0},
		{"viewer", "jobs/Secret/up", 404, "", 0},
		{"nobody", "jobs/NodeUpgradeJob/up", 403, "", 0},
		{"nobody", "summary", 403, "", 0},
		{"viewer", "none", 404, "", 0},
	} {
		var list named
		code := w.get(t, tt.user, tt.path, &list)
		names := list.names()
		if code != tt.code || names != tt.names || list.Total != tt.total {
			t.Errorf("%s %s: %d, %q of %d", tt.user, tt.path, code, list.names(), list.Total)
		}
	}
}

// TestPages follows cursors through a list in both directions.
func TestPages(t *testing.T) {
	w := newWorld(t, console.Config{})
	for _, path := range []string{"nodes?limit=1", "nodes?limit=1&sort=-since", "nodes?limit=1&search=edge", "nodes?limit=2&sort=-site", "devices?limit=1", "devices?limit=1&sort=-node", "devices?limit=1&search=p&sort=-name"} {
		var all []string
		next := ""
		for range 5 {
			var list named
			if code := w.get(t, "viewer", path+"&cursor="+next, &list); code != http.StatusOK {
				t.Fatalf("%s: %d", path, code)
			}
			for _, i := range list.Items {
				all = append(all, i.Namespace+"/"+i.Name)
			}
			if next = list.Next; next == "" {
				if list.Total != len(all) {
					t.Errorf("%s: total is %d: %q", path, list.Total, all)
				}
				break
			}
		}
		whole := slices.Compact(slices.Sorted(slices.Values(all)))
		if len(whole) != len(all) || len(all) < 2 {
			t.Errorf("%s: %q", path, all)
		}
	}
	var list named
	w.get(t, "viewer", "nodes?limit=1", &list)
	if code := w.get(t, "viewer", "nodes?sort=site&cursor="+list.Next, nil); code != http.StatusBadRequest {
		t.Errorf("a cursor of another order: %d", code)
	}
}

// TestSummary: each user gets the parts that the user may see.
func TestSummary(t *testing.T) {
	w := newWorld(t, console.Config{})
	for user, want := range map[string]string{
		"viewer": `{"nodes":{"total":3,"connected":1,"disconnected":1,"unknown":1,"notReady":0},"versions":[{"version":"v1.34.0","count":3}],"versionsTotal":1,` +
			`"sites":[{"name":"north","total":2,"connected":1},{"name":"south","total":1,"connected":0}],"sitesTotal":2,"jobs":{"active":1},"devices":{"total":3,"online":2}}`,
		"plant": `{"devices":{"total":2,"online":1}}`,
	} {
		out := w.send(http.MethodGet, "/console/api/v1/summary", as(user), "")
		if out.Body.String() != want {
			t.Errorf("%s: %d %s", user, out.Code, out.Body)
		}
	}
	var me struct {
		User string
		Can  map[string]bool
	}
	if code := w.get(t, "plant", "me", &me); code != http.StatusOK || me.User != "plant" || me.Can["listNodes"] || len(me.Can) != 7 {
		t.Errorf("me: %d %+v", code, me)
	}
	if code := w.get(t, "viewer", "me", &me); code != http.StatusOK || !me.Can["readLogs"] || me.Can["changeJobs"] {
		t.Errorf("me: %d %+v", code, me)
	}
}

// TestUsersOwnToken: what is not of the caches is asked of the API server with the user's token
// and no other, and its answer is passed on.
func TestUsersOwnToken(t *testing.T) {
	w := newWorld(t, console.Config{})
	w.setAnswer(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/devicestatuses/boiler"):
			_, _ = rw.Write([]byte(`{"status":{"twins":[{"propertyName":"target","reported":{"value":"44<script>","metadata":{"timestamp":"1700000000000"}}}]}}`))
		case r.URL.Path == "/api/v1/events":
			rw.WriteHeader(http.StatusForbidden)
			_, _ = rw.Write([]byte(`{"kind":"Status","message":"no"}`))
		case strings.HasSuffix(r.URL.Path, "/events"):
			_, _ = rw.Write([]byte(`{"items":[{"reason":"Old","lastTimestamp":"2026-01-01T00:00:00Z"},{"reason":"New","lastTimestamp":"2026-01-02T00:00:00Z","message":"a\nb"}]}`))
		case strings.HasSuffix(r.URL.Path, "/log"):
			_, _ = rw.Write([]byte("line 1\nline 2\n"))
		default:
			_, _ = rw.Write([]byte(`{}`))
		}
	})
	for _, tt := range []struct{ method, path, user, answer, asked string }{
		{"GET", "devices/plant/boiler", "viewer", `"twins":[{"property":"target","desired":"45","reported":"44\u003cscript\u003e","reportedAt":"2023-11-14T22:13:20.000Z","unit":"Cel"}]`,
			"Bearer T-viewer GET /apis/devices.kubeedge.io/v1beta1/namespaces/plant/devicestatuses/boiler"},
		{"GET", "nodes/edge-1/events", "nobody", `"reason":"New","object":"/","message":"a\nb","count":1},{"time":"2026-01-01T00:00:00Z"`,
			"Bearer T-nobody GET /api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode%2CinvolvedObject.name%3Dedge-1&limit=500"},
		{"GET", "pods/plant/a/log?container=app&tail=9", "nobody", "line 1\nline 2\n", "Bearer T-nobody GET /api/v1/namespaces/plant/pods/a/log?container=app&limitBytes=8388608&tailLines=9"},
		{"GET", "pods/plant/a/log?follow=1&previous=true", "nobody", "line 1\n", "Bearer T-nobody GET /api/v1/namespaces/plant/pods/a/log?follow=true&previous=true&tailLines=500"},
		{"POST", "jobs/NodeUpgradeJob/up/pause", "viewer", `"paused":true`,
			`Bearer T-viewer PATCH /apis/operations.kubeedge.io/v1alpha2/nodeupgradejobs/up?fieldManager=edgekit-console {"spec":{"paused":true}}`},
		{"POST", "jobs/NodeUpgradeJob/up/resume", "root", `"paused":false`, `{"spec":{"paused":false}}`},
		{"POST", "jobs/NodeUpgradeJob/up/cancel", "root", `"actions":[]`, `{"spec":{"cancel":true}}`},
	} {
		out := w.send(tt.method, "/console/api/v1/"+tt.path, as(tt.user), "")
		all := w.requests()
		if out.Code != http.StatusOK || !strings.Contains(out.Body.String(), tt.answer) || !strings.HasSuffix(all[len(all)-1], tt.asked) {
			t.Errorf("%s: %d %s; the API server was asked %s", tt.path, out.Code, out.Body, all[len(all)-1])
		}
	}
	for _, asked := range w.requests() {
		if strings.Contains(asked, "cloudcore-token") {
			t.Errorf("cloudcore's own token was used: %s", asked)
		}
	}
	before := len(w.requests())
	for path, code := range map[string]int{
		"jobs/NodeUpgradeJob/up/confirm": 409, "jobs/NodeUpgradeJob/up/delete": 404, "jobs/NodeUpgradeJob/none/pause": 404, "jobs/Pod/up/pause": 404,
	} {
		if out := w.send(http.MethodPost, "/console/api/v1/"+path, as("root"), ""); out.Code != code {
			t.Errorf("%s: %d %s", path, out.Code, out.Body)
		}
	}
	for path, code := range map[string]int{
		"pods/plant/%2e%2e/log": 400, "pods/plant/a/log?tail=-1": 400, "pods/plant/a/log?tail=99999999": 400, "pods/plant/a%2f..%2fsecrets/log": 404,
	} {
		w.setAnswer(nil)
		if out := w.send(http.MethodGet, "/console/api/v1/"+path, as("root"), ""); out.Code != code {
			t.Errorf("%s: %d %s", path, out.Code, out.Body)
		}
	}
	for _, asked := range w.requests()[before:] {
		if strings.Contains(asked, " PATCH ") || strings.Contains(asked, "/pods/secrets") {
			t.Errorf("the API server was asked %s", asked)
		}
	}
}

// TestUpstreamErrors: what the API server refuses is passed on, what it cannot do is 503, and
// neither has its address.
func TestUpstreamErrors(t *testing.T) {
	w := newWorld(t, console.Config{})
	for code, want := range map[int]int{403: 403, 404: 404, 409: 409, 422: 422, 401: 401, 429: 429, 500: 503, 301: 503} {
		w.setAnswer(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Location", "https://elsewhere.example/")
			rw.WriteHeader(code)
			_, _ = rw.Write([]byte(`{"message":"` + strings.Repeat("x", 5000) + `"}`))
		})
		out := w.send(http.MethodPost, "/console/api/v1/jobs/NodeUpgradeJob/up/pause", as("root"), "")
		var body struct {
			Error struct {
				Code    int
				Message string
			}
		}
		if err := json.Unmarshal(out.Body.Bytes(), &body); err != nil || out.Code != want || body.Error.Code != want || len(body.Error.Message) > 1024 || body.Error.Message == "" {
			t.Errorf("%d: %d %s", code, out.Code, out.Body)
		}
	}
	w.setAway(true)
	for _, path := range []string{"nodes", "summary", "devices", "me"} {
		out := w.send(http.MethodGet, "/console/api/v1/"+path, as("viewer"), "")
		if out.Code != http.StatusServiceUnavailable || out.Header().Get("Retry-After") == "" || strings.Contains(out.Body.String(), "10.0.0.1") {
			t.Errorf("%s: %d %s", path, out.Code, out.Body)
		}
	}
}

// TestHeaders: each answer has the security headers; those of the API are not stored.
func TestHeaders(t *testing.T) {
	w := newWorld(t, console.Config{})
	for path, code := range map[string]int{
		"/console/": 200, "/console/nodes/a.b.example": 200, "/console/none.js": 404, "/": 302, "/console": 302,
		"/console/api/v1/me": 401, "/console/api/v1/none": 404, "/console/api/v2/x": 200,
	} {
		out := w.send(http.MethodGet, path, nil, "")
		h := out.Header()
		if out.Code != code || !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Frame-Options") != "DENY" {
			t.Errorf("%s: %d %v", path, out.Code, h)
		}
		if api := strings.HasPrefix(path, "/console/api/v1/"); api != (h.Get("Cache-Control") == "no-store") {
			t.Errorf("%s: %q", path, h.Get("Cache-Control"))
		}
	}
	out := w.send(http.MethodGet, "/console/", nil, "")
	again := w.send(http.MethodGet, "/console/", func(r *http.Request) { r.Header.Set("If-None-Match", out.Header().Get("ETag")) }, "")
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("again: %d", again.Code)
	}
	zipped := w.send(http.MethodGet, "/console/", func(r *http.Request) { r.Header.Set("Accept-Encoding", "br, gzip;q=0.5") }, "")
	if zipped.Header().Get("Content-Encoding") != "gzip" && zipped.Body.Len() < out.Body.Len() {
		t.Errorf("zipped: %v", zipped.Header())
	}
}
