package apiserver

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// knowing is a cloud that has said that some objects do not exist.
type knowing struct {
	*fakeCloud
	absent meta.Key
}

func (k *knowing) Absent(_ context.Context, key meta.Key, _ uint64) (bool, error) {
	return key == k.absent, nil
}

// TestGetOfAnAbsentObject reads objects that are not on the node: offline an object that
// is known not to exist is "not found"; for all others only the cloud can say that.
func TestGetOfAnAbsentObject(t *testing.T) {
	connected := false
	sc := newScene(t, func(c *Config) {
		c.Cloud = &knowing{c.Cloud.(*fakeCloud), meta.Key{Resource: "configmaps", Namespace: "shop", Name: "none"}}
		c.Connected = func() (bool, time.Time) { return connected, time.Time{} }
	})
	for _, tc := range []struct {
		path      string
		connected bool
		want      int
	}{
		{"/api/v1/namespaces/shop/configmaps/none", false, http.StatusNotFound},
		{"/api/v1/namespaces/shop/configmaps/other", false, http.StatusServiceUnavailable},
		{"/api/v1/namespaces/shop/secrets/none", false, http.StatusServiceUnavailable},
		{"/api/v1/namespaces/shop/configmaps/none", true, http.StatusServiceUnavailable}, // the cloud is asked
	} {
		connected = tc.connected
		code, body, _ := sc.get(tc.path, "")
		if code != tc.want || tc.want == http.StatusNotFound && !strings.Contains(body, `"reason":"NotFound"`) {
			t.Errorf("%s, connected %t: %d %s, want %d", tc.path, tc.connected, code, body, tc.want)
		}
	}
}
