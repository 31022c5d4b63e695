package apiserver

import (
	"net/http"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// TestDiscoveryOffline: without the link, discovery has the kinds that the node can answer and says
// that there may be more. Of any other group only the API server can say that there is none: the
// node's administrator, whom the store answers with the link too, hears the two apart.
func TestDiscoveryOffline(t *testing.T) {
	connected := false
	sc := newScene(t, func(c *Config) { c.Connected = func() (bool, time.Time) { return connected, time.Time{} } })
	for _, path := range []string{"/api", "/apis"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, sc.http.URL+path, nil)
		must(t, err)
		resp, err := sc.http.Client().Do(req)
		must(t, err)
		resp.Body.Close()
		want := `299 edgekit "these are the kinds that node gate-7 holds, not all of the cluster: the cloud is out of reach"`
		if got := resp.Header.Get("Warning"); resp.StatusCode != http.StatusOK || resp.Header.Get(HeaderPartial) != "true" || got != want {
			t.Errorf("%s: %s, %s, %q", path, resp.Status, resp.Header.Get(HeaderPartial), got)
		}
	}
	for _, tt := range []struct {
		path      string
		connected bool
		want      int
	}{
		{"/apis/apps", false, http.StatusServiceUnavailable}, {"/apis/apps/v1", false, http.StatusServiceUnavailable},
		{"/apis/apps/v1", true, http.StatusNotFound}, {"/apis/rbac.authorization.k8s.io/v1", false, http.StatusOK},
		{"/apis/rbac.authorization.k8s.io/v9", false, http.StatusServiceUnavailable},
	} {
		connected = tt.connected
		code, body, _ := sc.get(tt.path, "")
		if code != tt.want || code == http.StatusServiceUnavailable && !strings.Contains(body, `"reason":"Offline"`) {
			t.Errorf("%s, connected %t: %d, want %d: %s", tt.path, tt.connected, code, tt.want, body)
		}
	}
	// What client-go makes of it: an error that a caller may try again, and not an absent group.
	connected = false
	if _, err := sc.client("").Discovery().ServerResourcesForGroupVersion("apps/v1"); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("apps/v1: %v", err)
	}
	groups, _, err := sc.client("").Discovery().ServerGroupsAndResources()
	if err != nil || len(groups) < 5 {
		t.Errorf("%d groups, %v", len(groups), err)
	}
}
