// Package consoleproxy is the local end of "edgectl console": a proxy on the loopback address that
// sends what a browser asks for to cloudcore's console, in the name of the user of a kubeconfig.
//
//	p, err := consoleproxy.New(consoleproxy.Config{Address: "127.0.0.1:40001", Target: target, Transport: transport})
//	fmt.Println(p.URL())
//	err = http.Serve(listener, p)
//
// # Who may use it
//
// Every program on the machine reaches the loopback address, and every web page that the user
// opens can send requests to it. So the proxy answers nobody but the browser that was opened with
// [Proxy.URL], which has a random key. That browser gets a cookie, and each request must have the
// cookie, the proxy's own address as its host (a name that somebody else's DNS points to the
// loopback address does not help), and must come from the proxy's own pages. Nothing but what is
// below /console/ is asked of cloudcore.
//
// What this does not keep out: browsers send a cookie to all ports of an address. If the browser
// is led to a web server that another user of the machine runs on the same loopback address, that
// server can have the cookie. So on a machine with users who are not to be trusted, log in to the
// console itself (Config.Target) instead.
//
// The user's token is added behind the proxy. The browser never has it.
package consoleproxy

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
)

const (
	// cookiePrefix has the port behind it, so that a browser can have several consoles open: it
	// has one set of cookies for all ports of an address.
	cookiePrefix = "edgectl-console-"
	rootPath     = "/console/"
	sessionPath  = "/console/api/v1/session"
	reopen       = "open the address that 'edgectl console' printed"
)

// Config sets up a Proxy. All fields are required.
type Config struct {
	Address   string            // host and port where the proxy listens: a loopback address
	Target    *url.URL          // where cloudcore's console is
	Transport http.RoundTripper // sends requests there, and adds the user's credentials
}

// Proxy is an http.Handler. Its methods may be called by several goroutines at once.
type Proxy struct {
	address string
	name    string // of the cookie
	key     string
	next    *httputil.ReverseProxy

	mu     sync.Mutex
	cookie string // what the browser's cookie must have
}

// New checks the configuration and makes the key. It does no I/O.
func New(cfg Config) (*Proxy, error) {
	host, port, err := net.SplitHostPort(cfg.Address)
	switch {
	case cfg.Target == nil, cfg.Transport == nil:
		return nil, errors.New("consoleproxy: Config.Target and Transport are required")
	case err != nil:
		return nil, fmt.Errorf("consoleproxy: Config.Address: %w", err)
	case !Loopback(host):
		return nil, fmt.Errorf("consoleproxy: Config.Address: %s is not a loopback address, such as 127.0.0.1: others could use the proxy in your name", host)
	}
	return &Proxy{
		address: cfg.Address, name: cookiePrefix + port, key: rand.Text(), cookie: rand.Text(),
		next: &httputil.ReverseProxy{
			Transport: cfg.Transport, FlushInterval: -1, // events and logs go on as they come
			Rewrite:        func(r *httputil.ProxyRequest) { rewrite(r, cfg.Target) },
			ModifyResponse: modify,
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
				fail(w, http.StatusBadGateway, "edgectl does not reach cloudcore: "+err.Error())
			},
		},
	}, nil
}

// Loopback reports whether a host is an address of this machine only.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// URL is the address to open in the browser. It has the key.
func (p *Proxy) URL() string { return "http://" + p.address + "/?key=" + p.key }

// ServeHTTP answers one request.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer")
	if r.Host != p.address {
		fail(w, http.StatusMisdirectedRequest, "this is http://"+p.address+", and no other name")
		return
	}
	if r.URL.Path == "/" {
		p.enter(w, r)
		return
	}
	if !strings.HasPrefix(path.Clean(r.URL.Path)+"/", rootPath) {
		fail(w, http.StatusNotFound, "the console is at "+rootPath)
		return
	}
	if !own(r) {
		fail(w, http.StatusForbidden, "the request comes from another site: "+reopen)
		return
	}
	if !p.admitted(r) {
		fail(w, http.StatusUnauthorized, reopen)
		return
	}
	if r.URL.Path == sessionPath {
		p.session(w, r)
		return
	}
	p.next.ServeHTTP(w, r)
}

// enter gives the browser that has the key the cookie. The answer is a page that leads on, not a
// redirect: after a redirect the browser would not send a strict cookie if it came from elsewhere.
func (p *Proxy) enter(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet || subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("key")), []byte(p.key)) != 1 {
		fail(w, http.StatusUnauthorized, reopen)
		return
	}
	p.mu.Lock()
	cookie := p.cookie
	p.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: p.name, Value: cookie, Path: rootPath, HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // without TLS on the loopback address
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write([]byte(`<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0; url=/console/"><title>edgekit console</title><a href="/console/">To the console</a></html>`))
}

// own reports whether a request comes from a page of the proxy, or from the user's own hand.
func own(r *http.Request) bool {
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+r.Host {
		return false
	}
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "" || site == "same-origin" || site == "none"
}

func (p *Proxy) admitted(r *http.Request) bool {
	c, err := r.Cookie(p.name)
	p.mu.Lock()
	defer p.mu.Unlock()
	return err == nil && subtle.ConstantTimeCompare([]byte(c.Value), []byte(p.cookie)) == 1
}

// session answers what the page's login and logout ask for. There is nothing to log in to:
// logging out makes the cookie worthless until the address with the key is opened again.
func (p *Proxy) session(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodDelete {
		fail(w, http.StatusConflict, "edgectl uses your kubeconfig, and takes no token: "+reopen)
		return
	}
	p.mu.Lock()
	p.cookie = rand.Text()
	p.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// rewrite makes the request that cloudcore gets. What the browser says about itself and this
// proxy stays here.
func rewrite(r *httputil.ProxyRequest, target *url.URL) {
	r.SetURL(target)
	r.Out.Host = target.Host
	for _, name := range []string{"Authorization", "Cookie", "Origin", "Referer", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-User"} {
		r.Out.Header.Del(name)
	}
	for name := range r.Out.Header {
		if len(name) >= 12 && name[:12] == "Impersonate-" {
			r.Out.Header.Del(name)
		}
	}
}

// modify takes out of an answer what is only right for cloudcore's own address.
func modify(r *http.Response) error {
	r.Header.Del("Set-Cookie")
	r.Header.Del("Strict-Transport-Security")
	return nil
}

// fail answers like cloudcore's console, so that the page can show the message.
func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message}}) // the client may be gone
}
