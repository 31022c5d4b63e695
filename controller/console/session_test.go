package console_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/controller/console"
)

// login posts a token and returns the cookie.
func (w *world) login(token string, change func(*http.Request)) (int, *http.Cookie) {
	out := w.send(http.MethodPost, "/console/api/v1/session", func(r *http.Request) {
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Edgekit-Console", "1")
		if change != nil {
			change(r)
		}
	}, `{"token":"`+token+`"}`)
	if cookies := out.Result().Cookies(); len(cookies) > 0 {
		return out.Code, cookies[0]
	}
	return out.Code, nil
}

// by is a request with a session.
func by(c *http.Cookie) func(*http.Request) {
	return func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		r.Header.Set("X-Edgekit-Console", "1")
	}
}

func TestSession(t *testing.T) {
	w := newWorld(t, console.Config{})
	code, c := w.login("T-viewer", nil)
	if code != http.StatusOK || c == nil || !c.HttpOnly || !c.Secure || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" ||
		!strings.HasPrefix(c.Name, "__Host-") || len(c.Value) < 43 || strings.Contains(c.Value, "viewer") {
		t.Fatalf("login: %d %+v", code, c)
	}
	if out := w.send(http.MethodGet, "/console/api/v1/nodes", by(c), ""); out.Code != http.StatusOK {
		t.Errorf("with the cookie: %d %s", out.Code, out.Body)
	}
	if out := w.send(http.MethodGet, "/console/api/v1/nodes", by(&http.Cookie{Name: c.Name, Value: "other"}), ""); out.Code != http.StatusUnauthorized {
		t.Errorf("with another cookie: %d", out.Code)
	}
	// A second login of the same browser ends the first session.
	_, second := w.login("T-viewer", by(c))
	if out := w.send(http.MethodGet, "/console/api/v1/me", by(c), ""); out.Code != http.StatusUnauthorized {
		t.Errorf("the first session after a second login: %d", out.Code)
	}
	out := w.send(http.MethodDelete, "/console/api/v1/session", by(second), "")
	if gone := out.Result().Cookies(); out.Code != http.StatusOK || len(gone) != 1 || gone[0].MaxAge >= 0 {
		t.Errorf("logout: %d %v", out.Code, gone)
	}
	if out := w.send(http.MethodGet, "/console/api/v1/me", by(second), ""); out.Code != http.StatusUnauthorized {
		t.Errorf("after logout: %d", out.Code)
	}
	for token, want := range map[string]int{
		"": 400, "bad": 401, "with space": 400, `esc\n`: 400, strings.Repeat("x", 17<<10): 413, strings.Repeat("x", 70<<10): 413,
	} {
		if code, c := w.login(token, nil); code != want || c != nil {
			t.Errorf("token %.20q: %d %v", token, code, c)
		}
	}
	for name, body := range map[string]string{"list": "[]", "text": "x", "nothing": "", "number": `{"token":5}`, "tail": `{"token":"T-viewer"}{}`} {
		out := w.send(http.MethodPost, "/console/api/v1/session", func(r *http.Request) {
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Edgekit-Console", "1")
		}, body)
		if out.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", name, out.Code)
		}
	}
	w.setAway(true)
	if code, _ := w.login("T-new", nil); code != http.StatusServiceUnavailable {
		t.Errorf("the API server is away: %d", code)
	}
}

// TestOtherSites: a page of another site can neither log in nor change nor read anything with a
// user's cookie.
func TestOtherSites(t *testing.T) {
	w := newWorld(t, console.Config{})
	_, c := w.login("T-root", nil)
	without := func(r *http.Request) { r.Header.Del("X-Edgekit-Console") }
	foreign := func(r *http.Request) { r.Header.Set("Origin", "https://evil.example") }
	fetch := func(site string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", site) }
	}
	for name, change := range map[string]func(*http.Request){
		"no header": without, "origin": foreign, "cross-site": fetch("cross-site"), "same-site": fetch("same-site"), "null": func(r *http.Request) { r.Header.Set("Origin", "null") },
	} {
		if code, _ := w.login("T-root", change); code != http.StatusForbidden {
			t.Errorf("login, %s: %d", name, code)
		}
		for _, tt := range [][2]string{{"POST", "jobs/NodeUpgradeJob/up/cancel"}, {"DELETE", "session"}} {
			out := w.send(tt[0], "/console/api/v1/"+tt[1], func(r *http.Request) { by(c)(r); change(r) }, "")
			if out.Code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", tt[1], name, out.Code)
			}
		}
	}
	for _, site := range []string{"cross-site", "same-site"} {
		if out := w.send(http.MethodGet, "/console/api/v1/nodes", func(r *http.Request) { by(c)(r); fetch(site)(r) }, ""); out.Code != http.StatusForbidden {
			t.Errorf("read, %s: %d", site, out.Code)
		}
	}
	if out := w.send(http.MethodPost, "/console/api/v1/jobs/NodeUpgradeJob/none/cancel", func(r *http.Request) { by(c)(r); fetch("same-origin")(r) }, ""); out.Code != http.StatusNotFound {
		t.Errorf("the console's own page: %d", out.Code)
	}
	if len(w.requests()) > 0 {
		t.Errorf("the API server was asked %q", w.requests())
	}
	// Other methods and schemes.
	for _, change := range []func(*http.Request){nil, func(r *http.Request) { r.Header.Set("Authorization", "Basic eDp5") }, func(r *http.Request) { r.Header.Set("Authorization", "Bearer \x7f") }} {
		if out := w.send(http.MethodGet, "/console/api/v1/nodes", change, ""); out.Code != http.StatusUnauthorized {
			t.Errorf("without credentials: %d", out.Code)
		}
	}
}
