package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestLinkIsRefused(t *testing.T) {
	for _, address := range []string{"169.254.169.254:80", "[fe80::1%lo]:80", "[::ffff:169.254.1.1]:80", "0.0.0.0:80", "[::]:80", "224.0.0.1:80", "[ff02::1]:80"} {
		c, err := Dialer().DialContext(t.Context(), "tcp", address)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "may not connect") {
			t.Errorf("%s: %v", address, err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := Dialer().DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestParseURL(t *testing.T) {
	if u, err := ParseURL("http.url", "https://h:1/x?y", "https", "http"); err != nil || u.Host != "h:1" {
		t.Error(u, err)
	}
	for _, raw := range []v1alpha1.URL{"", "h", "ftp://h", "http://", "http://:80", "https://user:sesame@h", "https://us%zzer:sesame@h"} {
		_, err := ParseURL("http.url", raw, "https", "http")
		if err == nil || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestCredentialsAreHidden(t *testing.T) {
	c := Credentials{Username: "u", Password: "sesame", Token: "sesame", Key: []byte("sesame")}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(s, "sesame") {
		t.Error(s)
	}
	for name, c := range map[string]Credentials{"ca.crt": {CA: []byte("sesame")}, "tls.key": {Certificate: []byte("x"), Key: []byte("sesame")}} {
		if _, err := c.TLS(); err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeaders(t *testing.T) {
	u, _ := ParseURL("http.url", "https://h", "https")
	for name, value := range map[string]v1alpha1.Text{"authorization": "x", "host": "x", "content-type": "x", "a b": "x", "X": "a\r\nB: c", "": "x"} {
		if _, err := NewClient(pipeline.Env{}, &v1alpha1.Sink{}, u, map[string]v1alpha1.Text{name: value}); err == nil {
			t.Errorf("%q: %q was taken", name, value)
		}
	}
}

func TestStatus(t *testing.T) {
	code := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(code)
		fmt.Fprint(w, "a secret of the receiver")
	}))
	defer server.Close()
	u, _ := ParseURL("http.url", v1alpha1.URL(server.URL), "http")
	c, err := NewClient(pipeline.Env{}, &v1alpha1.Sink{}, u, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for status, want := range map[int]string{
		200: "ok", 204: "ok", 302: "again", 400: "refused", 401: "again", 404: "again", 413: "refused", 422: "refused", 429: "again", 500: "again", 503: "again",
	} {
		code = status
		err := c.Post(t.Context(), "text/plain", []byte("x"))
		got := "again"
		if err == nil {
			got = "ok"
		} else if errors.Is(err, pipeline.ErrRefused) {
			got = "refused"
		}
		if got != want || err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%d: %s (%v), want %s", status, got, err, want)
		}
	}
}
