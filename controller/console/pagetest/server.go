package pagetest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Policy is the Content-Security-Policy that cloudcore's console sends.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Token is what the login takes.
const Token = "a-good-token" //nolint:gosec // of a test's own server

// Config sets up a Server. Page is required.
type Config struct {
	Page  fs.FS // the built page: page/dist
	Nodes int   // 0 means 1,000; negative none
	// Hostile gives nodes, labels, devices, events and logs texts that attack a page.
	Hostile bool
	// LoggedIn admits requests without a session, as behind "edgectl console".
	LoggedIn bool
}

// Server answers like cloudcore's console, from a fleet that it makes up. Its methods may be
// called by several goroutines at once. Streams end with their requests.
type Server struct {
	cfg   Config
	mux   *http.ServeMux
	fleet *fleet

	mu      sync.Mutex
	refuse  map[string]int // prefix of a path: the code that it is answered with
	posts   []string       // requests that changed something
	paused  bool
	session string
}

// New makes a Server.
func New(cfg Config) *Server {
	if cfg.Nodes == 0 {
		cfg.Nodes = 1000
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), fleet: newFleet(cfg), refuse: make(map[string]int)}
	const api = "/console/api/v1/"
	s.mux.HandleFunc("GET /console/", s.page)
	s.mux.HandleFunc("POST "+api+"session", s.login)
	s.mux.HandleFunc("DELETE "+api+"session", s.logout)
	for path, h := range map[string]http.HandlerFunc{
		"me": s.me, "summary": s.summary, "stream": s.stream,
		"nodes": s.nodes, "nodes/{name}": s.node, "nodes/{name}/{part}": s.part,
		"devices": s.devices, "devices/{ns}/{name}": s.device, "devices/{ns}/{name}/live": s.live,
		"jobs": s.jobs, "jobs/{kind}/{name}": s.job, "pods/{ns}/{name}/log": s.log,
	} {
		s.mux.HandleFunc("GET "+api+path, s.admit(h))
	}
	s.mux.HandleFunc("POST "+api+"jobs/{kind}/{name}/{action}", s.admit(s.act))
	return s
}

// Refuse answers the API's paths that begin with prefix with a code, until it is 0.
func (s *Server) Refuse(prefix string, code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if code == 0 {
		delete(s.refuse, prefix)
	} else {
		s.refuse[prefix] = code
	}
}

// Posts returns the requests that changed something, in their order.
func (s *Server) Posts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.posts...)
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Security-Policy", Policy)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}

func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	if _, err := fs.Stat(s.cfg.Page, name); err != nil || name == "" {
		name = "index.html"
	}
	r = r.Clone(r.Context())
	r.URL.Path = "/" // ServeFileFS refuses addresses with dots, which index.html answers
	http.ServeFileFS(w, r, s.cfg.Page, name)
}

func (s *Server) refused(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prefix, code := range s.refuse {
		if strings.HasPrefix(path, prefix) {
			return code
		}
	}
	return 0
}

// admit lets only requests of a session through.
func (s *Server) admit(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if code := s.refused(strings.TrimPrefix(r.URL.Path, "/console/api/v1/")); code != 0 {
			fail(w, code, http.StatusText(code))
			return
		}
		s.mu.Lock()
		session := s.session
		s.mu.Unlock()
		cookie, err := r.Cookie("session")
		if !s.cfg.LoggedIn && (err != nil || session == "" || cookie.Value != session) {
			fail(w, http.StatusUnauthorized, "log in first")
			return
		}
		if r.Method != http.MethodGet && !changes(w, r) {
			return
		}
		next(w, r)
	}
}

// changes checks the header that no other site can send.
func changes(w http.ResponseWriter, r *http.Request) bool {
	if r.Header.Get("X-Edgekit-Console") != "1" || r.Header.Get("Content-Type") != "application/json" {
		fail(w, http.StatusForbidden, "the page must send X-Edgekit-Console and JSON")
		return false
	}
	return true
}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	if code := s.refused("session"); code != 0 {
		fail(w, code, "the API server does not answer")
		return
	}
	var body struct{ Token string }
	if !changes(w, r) {
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Token != Token {
		fail(w, http.StatusUnauthorized, "the API server does not know this token")
		return
	}
	s.mu.Lock()
	s.session = strconv.FormatInt(time.Now().UnixNano(), 36)
	http.SetCookie(w, &http.Cookie{Name: "session", Value: s.session, Path: "/console/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
	s.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if code := s.refused("session"); code != 0 {
		fail(w, code, http.StatusText(code))
		return
	}
	if changes(w, r) {
		s.mu.Lock()
		s.session = ""
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) me(w http.ResponseWriter, _ *http.Request) {
	can := map[string]bool{}
	for _, right := range []string{"listNodes", "listPods", "listDevices", "listJobs", "listEvents", "readLogs", "changeJobs"} {
		can[right] = true
	}
	answer(w, map[string]any{"user": "alice@example.org", "groups": []string{"operators"}, "can": can})
}

// act changes the job that the page may change.
func (s *Server) act(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	action := r.PathValue("action")
	s.posts = append(s.posts, r.PathValue("kind")+"/"+r.PathValue("name")+"/"+action)
	switch action {
	case "pause", "resume":
		s.paused = action == "pause"
	}
	w.WriteHeader(http.StatusNoContent)
}

// stream sends the summary and changed nodes, each five times a second: more than cloudcore does.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	topics := r.URL.Query().Get("topics")
	events(w, r, 200*time.Millisecond, func(n int) (string, any) {
		if strings.Contains(topics, "summary") {
			return "summary", s.fleet.summary(n)
		}
		return "nodes", map[string]any{"items": s.fleet.changed(n)}
	})
}

func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	events(w, r, 100*time.Millisecond, func(n int) (string, any) { return "", s.fleet.value(n) })
}

// events sends an event at each tick, until the request ends.
func events(w http.ResponseWriter, r *http.Request, every time.Duration, next func(n int) (string, any)) {
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 1; ; n++ {
		name, value := next(n)
		text, err := json.Marshal(value)
		if err != nil {
			return
		}
		if name != "" {
			_, _ = fmt.Fprintf(w, "event: %s\n", name)
		}
		_, _ = fmt.Fprintf(w, "data: %s\n\n", text)
		if out.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Server) log(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	tail, err := strconv.Atoi(r.URL.Query().Get("tail"))
	if err != nil {
		fail(w, http.StatusBadRequest, "tail must be a number")
		return
	}
	out := http.NewResponseController(w)
	for n := range tail {
		_, _ = fmt.Fprintln(w, s.fleet.logLine(n))
	}
	if r.URL.Query().Get("follow") == "" {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := tail; out.Flush() == nil; n++ {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
		}
		_, _ = fmt.Fprintln(w, s.fleet.logLine(n))
	}
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func fail(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": message}})
}
