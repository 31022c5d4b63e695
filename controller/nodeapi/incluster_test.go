package nodeapi

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/meta/apiserver"
)

// names returns the names of the objects in a list.
func names(t *testing.T, text string) []string {
	t.Helper()
	var list struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var all []string
	for _, i := range list.Items {
		all = append(all, i.Metadata.Name)
	}
	return all
}

// versionOf returns the resourceVersion of a list or an object.
func versionOf(t *testing.T, text string) string {
	t.Helper()
	var obj struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	must(t, json.Unmarshal([]byte(text), &obj))
	return obj.Metadata.ResourceVersion
}

// TestOnlineIsWhole: with the link, a pod gets what the API server has, by its own name, for kinds
// that the node holds and for those that it does not; without it the node's part, which says so.
func TestOnlineIsWhole(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.allow([]string{""}, "configmaps", "pods")
	s.up.put("/api/v1/configmaps", "shop", "a", nil)
	s.up.put("/api/v1/configmaps", "other", "b", nil)
	s.up.put("/apis/apps/v1/deployments", "shop", "d", nil)
	s.putLocal("configmaps", "shop", "a", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "a", "resourceVersion": "101"}})
	for path, want := range map[string]string{
		"/api/v1/configmaps": "[b a]", "/apis/apps/v1/deployments": "[d]", "/api/v1/configmaps?limit=1": "[b]",
	} {
		resp, text := s.ask("GET", s.web(), path, "")
		if got := fmt.Sprint(names(t, text)); resp.StatusCode != http.StatusOK || got != want || resp.Header.Get(apiserver.HeaderPartial) != "" || resp.Header.Get("Warning") != "" {
			t.Errorf("%s: %d %s %v", path, resp.StatusCode, got, resp.Header)
		}
	}
	if _, text := s.ask("GET", s.web(), "/apis", ""); !strings.Contains(text, "Whole") {
		t.Errorf("discovery: %s", text)
	}
	if resp, text := s.ask("GET", s.web(), "/readyz", ""); resp.StatusCode != http.StatusOK || text != "ok" || len(s.up.asked("/readyz")) > 0 {
		t.Errorf("the node's own health: %d %s", resp.StatusCode, text)
	}
	for _, r := range s.up.asked("") {
		if !strings.HasPrefix(r, "system:serviceaccount:shop:clerk ") {
			t.Errorf("asked as another than the pod's account: %s", r)
		}
	}
	if resp, _ := s.ask("POST", s.web(), "/api/v1/namespaces/shop/configmaps", `{"metadata":{"name":"new"}}`, "Content-Type", "application/json"); resp.StatusCode != http.StatusCreated {
		t.Errorf("create: %d", resp.StatusCode)
	}

	s.disconnect()
	resp, text := s.ask("GET", s.web(), "/api/v1/configmaps", "")
	if got := fmt.Sprint(names(t, text)); got != "[a]" || resp.Header.Get(apiserver.HeaderPartial) != "true" || !strings.HasPrefix(resp.Header.Get("Warning"), "299 edgekit ") {
		t.Errorf("offline: %d %s %v", resp.StatusCode, got, resp.Header)
	}
	if resp, _ := s.ask("GET", s.web(), "/apis", ""); resp.StatusCode != http.StatusOK || resp.Header.Get(apiserver.HeaderPartial) != "true" {
		t.Errorf("discovery offline: %d %v", resp.StatusCode, resp.Header)
	}
	for _, r := range [][3]string{
		{"POST", "/api/v1/namespaces/shop/configmaps", `{"metadata":{"name":"x"}}`}, {"GET", "/apis/apps/v1/deployments", ""},
		{"GET", "/apis/apps/v1/deployments?watch=1", ""}, {"PUT", "/apis/coordination.k8s.io/v1/namespaces/shop/leases/l", `{"metadata":{"name":"l"}}`},
	} {
		resp, text := s.ask(r[0], s.web(), r[1], r[2], "Content-Type", "application/json")
		if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, `"reason":"Offline"`) || !strings.Contains(text, "out of reach") {
			t.Errorf("offline %s %s: %d %s", r[0], r[1], resp.StatusCode, text)
		}
	}
	// A node that does not hold Services must not look like a cluster without any.
	s.allow([]string{""}, "services")
	s.until("the rules are read", func() bool {
		resp, _ := s.ask("GET", s.web(), "/api/v1/services", "")
		return resp.StatusCode != http.StatusForbidden
	})
	if resp, text := s.ask("GET", s.web(), "/api/v1/services", ""); resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(text, "does not hold") {
		t.Errorf("Services that are not here: %d %s", resp.StatusCode, text)
	}
	s.connect()
	if _, text := s.ask("GET", s.web(), "/api/v1/configmaps", ""); len(names(t, text)) != 3 {
		t.Errorf("again connected: %v", names(t, text))
	}
	if stats := s.api.Stats(); len(stats.Requests) < 4 {
		t.Errorf("%+v", stats)
	}
	s.until("the streams end", func() bool { return s.api.Stats().Streams == 0 })
}

// TestVersionsApart: a version of the node's store never continues at the API server, nor the
// other way round: the client gets 410 Gone or a list of all, and misses no event.
func TestVersionsApart(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.allow([]string{""}, "configmaps")
	s.up.put("/api/v1/configmaps", "shop", "a", nil)
	s.up.put("/api/v1/configmaps", "shop", "b", nil)
	object := map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "a", "resourceVersion": "101"}}
	s.putLocal("configmaps", "shop", "a", object)
	s.putLocal("configmaps", "shop", "z", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "z", "resourceVersion": "99"}})
	const all = "/api/v1/namespaces/shop/configmaps"
	_, text := s.ask("GET", s.web(), all+"?limit=1", "")
	cloud, cloudToken := versionOf(t, text), `eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTAyLCJzdGFydCI6ImEifQ`
	s.disconnect()
	_, text = s.ask("GET", s.web(), all+"?limit=1", "")
	local := versionOf(t, text)
	var page struct {
		Metadata struct {
			Continue string `json:"continue"`
		} `json:"metadata"`
	}
	must(t, json.Unmarshal([]byte(text), &page))
	_, text = s.ask("GET", s.web(), all+"/a", "")
	stale := versionOf(t, text)
	gone := func(when, query string) {
		t.Helper()
		if resp, text := s.ask("GET", s.web(), all+query, ""); resp.StatusCode != http.StatusGone || !strings.Contains(text, `"reason":"Expired"`) {
			t.Errorf("%s %s: %d %s", when, query, resp.StatusCode, text)
		}
	}
	lists := func(when, query string, want int) {
		t.Helper()
		if resp, text := s.ask("GET", s.web(), all+query, ""); resp.StatusCode != http.StatusOK || len(names(t, text)) != want {
			t.Errorf("%s %s: %d %s", when, query, resp.StatusCode, text)
		}
	}
	gone("offline", "?watch=1&resourceVersion="+cloud)
	gone("offline", "?resourceVersionMatch=Exact&resourceVersion="+cloud)
	gone("offline", "?continue="+cloudToken)
	lists("offline", "?resourceVersion="+cloud, 2)
	s.connect()
	gone("online", "?watch=1&resourceVersion="+local)
	gone("online", "?resourceVersionMatch=Exact&resourceVersion="+local)
	gone("online", "?limit=1&continue="+page.Metadata.Continue)
	lists("online", "?resourceVersionMatch=NotOlderThan&resourceVersion="+local, 2)
	lists("online", "?resourceVersion="+local, 2)
	resp, err := s.follow(all + "?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=" + local)
	must(t, err)
	for _, want := range []string{"ADDED", "ADDED", "BOOKMARK"} {
		if e := resp.event(t); e.Type != want {
			t.Errorf("the list as a watch: %+v", e)
		}
	}
	resp.Close()

	// An object that was read here is written there if the API server has the same, and
	// conflicts if not.
	write := func(version string) int {
		resp, _ := s.ask("PUT", s.web(), all+"/a", fmt.Sprintf(`{"metadata":{"name":"a","namespace":"shop","resourceVersion":%q}}`, version), "Content-Type", "application/json")
		return resp.StatusCode
	}
	if code := write(stale); code != http.StatusOK {
		t.Errorf("an object of the node's store: %d", code)
	}
	if code := write(stale); code != http.StatusConflict {
		t.Errorf("and again: %d", code)
	}
}

// TestUpgrade: exec, attach and port forwards are passed on as connections, and end with the link.
func TestUpgrade(t *testing.T) {
	s := newInCluster(t, nil, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	must(t, err)
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/v1/namespaces/far/pods/p/exec?command=cat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nAuthorization: Bearer %s\r\n\r\n", s.web())
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	must(t, err)
	if resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "SPDY/3.1" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	for _, line := range []string{"one\n", "two\n"} {
		_, err := io.WriteString(conn, line)
		must(t, err)
		if got, err := in.ReadString('\n'); got != line || err != nil {
			t.Errorf("%q %v", got, err)
		}
	}
	s.disconnect()
	if rest, err := io.ReadAll(in); len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	s.until("the stream ends", func() bool { return s.api.Stats().Streams == 0 })
}

// event is one event of a watch.
type event struct {
	Type   string `json:"type"`
	Object struct {
		Kind     string `json:"kind"`
		Reason   string `json:"reason"`
		Code     int    `json:"code"`
		Metadata struct {
			Name            string `json:"name"`
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	} `json:"object"`
}

// following is an open watch.
type following struct {
	io.Closer
	*json.Decoder
	code int
}

func (s *inCluster) follow(path string) (following, error) {
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.http.URL+path, nil)
	if err != nil {
		return following{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.web())
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return following{}, err
	}
	return following{resp.Body, json.NewDecoder(resp.Body), resp.StatusCode}, nil
}

func (f following) event(t *testing.T) event {
	t.Helper()
	var e event
	must(t, f.Decode(&e))
	return e
}

// TestWatchOverCut: a watch at the API server ends as any watch ends when the link is lost, goes on
// at the API server from where it was if the link is back, and gets 410 from the node's store
// otherwise. A watch of the node's store ends with 410 when the link is back.
func TestWatchOverCut(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.allow([]string{""}, "configmaps")
	s.putLocal("configmaps", "shop", "a", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "a", "resourceVersion": "101"}})
	s.up.put("/api/v1/configmaps", "shop", "a", nil)
	const all = "/api/v1/configmaps?watch=1&resourceVersion="
	w, err := s.follow(all + "100")
	must(t, err)
	first := w.event(t)
	if first.Type != "ADDED" {
		t.Fatalf("%+v", first)
	}
	s.disconnect()
	var none event
	if err := w.Decode(&none); !errors.Is(err, io.EOF) {
		t.Errorf("the watch did not end cleanly: %v %+v", err, none)
	}
	w.Close()
	if w, err = s.follow(all + first.Object.Metadata.ResourceVersion); err != nil || w.code != http.StatusGone {
		t.Errorf("the API server's version at the store: %d %v", w.code, err)
	}
	w.Close()
	local, err := s.follow("/api/v1/configmaps?watch=1")
	must(t, err)
	if e := local.event(t); e.Type != "ADDED" || len(e.Object.Metadata.ResourceVersion) != 19 {
		t.Errorf("the store's watch: %+v", e)
	}
	s.up.put("/api/v1/configmaps", "shop", "missed", nil)
	s.connect()
	if e := local.event(t); e.Type != "ERROR" || e.Object.Code != 410 {
		t.Errorf("the store's watch when the link is back: %+v", e)
	}
	local.Close()
	w, err = s.follow(all + first.Object.Metadata.ResourceVersion)
	must(t, err)
	if e := w.event(t); e.Object.Metadata.Name != "missed" {
		t.Errorf("what happened while the link was cut: %+v", e)
	}
	w.Close()
	s.until("the streams end", func() bool { return s.api.Stats().Streams == 0 })
}
