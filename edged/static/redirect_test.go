package static

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestRedirect: the header, which may be a secret, goes to no other host, and not in the
// clear where the URL has https.
func TestRedirect(t *testing.T) {
	for _, tt := range []struct{ from, to, wantErr string }{
		{"https://site.example/pods", "https://site.example/other", ""},
		{"http://site.example/pods", "http://site.example/other", ""},
		{"http://site.example/pods", "https://site.example/pods", ""},
		{"https://site.example/pods", "http://site.example/pods", "it redirects to http://site.example:"},
		{"https://site.example/pods", "https://other.example/pods", "it redirects to https://other.example:"},
	} {
		u, err := NewURL(URLConfig{URL: tt.from, Node: "n", File: "/f"})
		if err != nil {
			t.Fatal(err)
		}
		to, err := url.Parse(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		err = u.cfg.Client.CheckRedirect(&http.Request{URL: to}, nil)
		if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
			t.Errorf("%s to %s: %v, want %q", tt.from, tt.to, err, tt.wantErr)
		}
	}
}
