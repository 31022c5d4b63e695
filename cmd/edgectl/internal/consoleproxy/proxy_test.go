package consoleproxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/consoleproxy"
)

// bearer adds the user's token.
type bearer struct{}

func (bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "Bearer users-token")
	return http.DefaultTransport.RoundTrip(r)
}

// start runs a proxy before a console that says what it was asked.
func start(t *testing.T) *consoleproxy.Proxy {
	t.Helper()
	console := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=stolen")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		fmt.Fprintf(w, "%s %s host=%s auth=%s cookie=%s origin=%s as=%s", r.Method, r.URL, r.Host, r.Header.Get("Authorization"),
			r.Header.Get("Cookie"), r.Header.Get("Origin"), r.Header.Get("Impersonate-User"))
	}))
	t.Cleanup(console.Close)
	target, err := url.Parse(console.URL)
	if err != nil {
		t.Fatal(err)
	}
	var p *consoleproxy.Proxy
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	p, err = consoleproxy.New(consoleproxy.Config{Address: strings.TrimPrefix(front.URL, "http://"), Target: target, Transport: bearer{}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func do(t *testing.T, client *http.Client, method, address string, header ...string) (int, string, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text), resp.Header
}

// TestProxy is the way of the user's own browser.
func TestProxy(t *testing.T) {
	p := start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	base, _, _ := strings.Cut(p.URL(), "/?")
	code, text, header := do(t, browser, http.MethodGet, p.URL(), "Sec-Fetch-Site", "cross-site") // from the file that edgectl has opened
	if code != http.StatusOK || !strings.Contains(text, "url=/console/") || strings.Contains(text, "key") {
		t.Fatalf("the address with the key: %d %s", code, text)
	}
	if c := header.Get("Set-Cookie"); !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Strict") {
		t.Errorf("the cookie is %s", c)
	}
	code, text, header = do(t, browser, http.MethodPost, base+"/console/api/v1/jobs/a/b/pause?x=1", "Origin", base, "Sec-Fetch-Site", "same-origin",
		"Authorization", "Bearer forged", "Impersonate-User", "root")
	host := strings.TrimPrefix(strings.SplitN(text, "host=", 2)[1], "")
	host, _, _ = strings.Cut(host, " ")
	if want := "POST /console/api/v1/jobs/a/b/pause?x=1 host=" + host + " auth=Bearer users-token cookie= origin= as="; code != http.StatusOK || text != want || "http://"+host == base {
		t.Errorf("cloudcore gets %q, want %q", text, want)
	}
	if header.Get("Set-Cookie") != "" || header.Get("Strict-Transport-Security") != "" || header.Get("Content-Security-Policy") == "" {
		t.Errorf("headers of the answer: %v", header)
	}
	if code, text, _ = do(t, browser, http.MethodPost, base+"/console/api/v1/session", "Origin", base); code != http.StatusConflict {
		t.Errorf("a login: %d %s", code, text)
	}
	// After the logout the browser must have the key again.
	if code, _, _ = do(t, browser, http.MethodDelete, base+"/console/api/v1/session", "Origin", base); code != http.StatusNoContent {
		t.Errorf("a logout: %d", code)
	}
	if code, text, _ = do(t, browser, http.MethodGet, base+"/console/"); code != http.StatusUnauthorized || !strings.Contains(text, "open the address that 'edgectl console' printed") {
		t.Errorf("after the logout: %d %s", code, text)
	}
	do(t, browser, http.MethodGet, p.URL())
	if code, _, _ = do(t, browser, http.MethodGet, base+"/console/"); code != http.StatusOK {
		t.Errorf("after the address was opened again: %d", code)
	}
}

// TestStrangers: other users of the machine, and other pages of the same browser, get nothing.
func TestStrangers(t *testing.T) {
	p := start(t)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	base, _, _ := strings.Cut(p.URL(), "/?")
	_, _, header := do(t, browser, http.MethodGet, p.URL())
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), "=")
	other := &http.Client{}
	for name, c := range map[string]struct {
		client  *http.Client
		path    string
		code    int
		headers []string
	}{
		"without the cookie":        {other, "/console/api/v1/me", http.StatusUnauthorized, nil},
		"with another cookie":       {other, "/console/", http.StatusUnauthorized, []string{"Cookie", cookie + "=guess"}},
		"with an empty cookie":      {other, "/console/", http.StatusUnauthorized, []string{"Cookie", cookie + "="}},
		"without a key":             {other, "/", http.StatusUnauthorized, nil},
		"with another key":          {other, "/?key=guess", http.StatusUnauthorized, nil},
		"by another name":           {browser, "/console/", http.StatusMisdirectedRequest, []string{"Host", "evil.example:80"}},
		"the key, by another name":  {browser, strings.TrimPrefix(p.URL(), base), http.StatusMisdirectedRequest, []string{"Host", "evil.example"}},
		"from another origin":       {browser, "/console/api/v1/me", http.StatusForbidden, []string{"Origin", "http://evil.example"}},
		"from an opaque origin":     {browser, "/console/api/v1/me", http.StatusForbidden, []string{"Origin", "null"}},
		"from another port":         {browser, "/console/api/v1/me", http.StatusForbidden, []string{"Sec-Fetch-Site", "same-site"}},
		"from another site's image": {browser, "/console/api/v1/me", http.StatusForbidden, []string{"Sec-Fetch-Site", "cross-site"}},
	} {
		if code, text, _ := do(t, c.client, http.MethodGet, base+c.path, c.headers...); code != c.code || strings.Contains(text, "users-token") {
			t.Errorf("%s: %d %s, want %d", name, code, text, c.code)
		}
	}
}

// TestTwo: the consoles of two clusters are open in one browser, which has the same cookies for
// all ports of an address.
func TestTwo(t *testing.T) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	both := []*consoleproxy.Proxy{start(t), start(t)}
	for _, p := range both {
		do(t, browser, http.MethodGet, p.URL())
	}
	for _, p := range both {
		base, _, _ := strings.Cut(p.URL(), "/?")
		if code, text, _ := do(t, browser, http.MethodGet, base+"/console/api/v1/me"); code != http.StatusOK {
			t.Errorf("%d %s", code, text)
		}
	}
}

// TestOtherPaths: the user's token goes to nothing else that has the console's name.
func TestOtherPaths(t *testing.T) {
	p := start(t)
	base, _, _ := strings.Cut(p.URL(), "/?")
	_, _, header := do(t, &http.Client{}, http.MethodGet, p.URL())
	cookie, _, _ := strings.Cut(header.Get("Set-Cookie"), ";")
	for path, want := range map[string]int{"/console/": 200, "/console/nodes/a..b": 200, "/other": 404, "/console/../other": 404, "/console/%2e%2e/other": 404, "/consoles/": 404} {
		r := httptest.NewRequest(http.MethodGet, base+path, nil)
		r.Header.Set("Cookie", cookie)
		w := httptest.NewRecorder()
		if p.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestNew refuses to be reached from other machines.
func TestNew(t *testing.T) {
	target := &url.URL{Scheme: "https", Host: "localhost"}
	for _, address := range []string{"0.0.0.0:80", "[::]:80", "192.0.2.1:80", "localhost:80", "127.0.0.1", ""} {
		if _, err := consoleproxy.New(consoleproxy.Config{Address: address, Target: target, Transport: bearer{}}); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
	if _, err := consoleproxy.New(consoleproxy.Config{Address: "[::1]:80", Target: target, Transport: bearer{}}); err != nil {
		t.Error(err)
	}
	if _, err := consoleproxy.New(consoleproxy.Config{Address: "127.0.0.1:80"}); err == nil {
		t.Error("a proxy to nowhere is made")
	}
}
