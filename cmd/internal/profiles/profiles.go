package profiles

import (
	"fmt"
	"net/http"
	"runtime/pprof"
	"strconv"
	"time"
)

const (
	defaultSeconds = 10
	maxSeconds     = 30
	// writeTime is how long a client may take to read a profile.
	writeTime = 30 * time.Second
)

// Profiles makes the profiles of this program, one at a time. Make it with New.
type Profiles struct{ running chan struct{} }

// New makes Profiles. A program needs one.
func New() *Profiles { return &Profiles{make(chan struct{}, 1)} }

// Handlers are the handlers of all profiles by their paths, which begin with prefix.
func (p *Profiles) Handlers(prefix string) map[string]http.Handler {
	all := map[string]http.Handler{prefix + "profile": p.alone(cpu)}
	for _, name := range []string{"heap", "allocs", "goroutine", "threadcreate", "block", "mutex"} {
		all[prefix+name] = p.alone(func(w http.ResponseWriter, r *http.Request) { lookup(w, r, name) })
	}
	return all
}

// alone answers 429 while another profile is made.
func (p *Profiles) alone(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case p.running <- struct{}{}:
			defer func() { <-p.running }()
		default:
			w.Header().Set("Retry-After", strconv.Itoa(maxSeconds))
			http.Error(w, "another profile is being made: try again when it is done", http.StatusTooManyRequests)
			return
		}
		h(w, r)
	})
}

// lookup writes a profile that the runtime has anyway. With debug=1 it is text.
func lookup(w http.ResponseWriter, r *http.Request, name string) {
	debug := 0
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.URL.Query().Get("debug") == "1" {
		debug = 1
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	extend(w, r, 0)
	_ = pprof.Lookup(name).WriteTo(w, debug) // a client that has gone needs no answer
}

// cpu writes the profile of the CPU over the query parameter seconds.
func cpu(w http.ResponseWriter, r *http.Request) {
	seconds := defaultSeconds
	if text := r.URL.Query().Get("seconds"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxSeconds {
			http.Error(w, fmt.Sprintf("the parameter seconds must be 1 to %d", maxSeconds), http.StatusBadRequest)
			return
		}
		seconds = n
	}
	length := time.Duration(seconds) * time.Second
	extend(w, r, length)
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := pprof.StartCPUProfile(w); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	defer pprof.StopCPUProfile()
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}

// extend gives the client time to read where the server bounds that, and sets its own bound again at the
// next request. In a server without one the bound would be that of later requests of the connection too.
func extend(w http.ResponseWriter, r *http.Request, length time.Duration) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); ok && server.WriteTimeout > 0 {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + writeTime))
	}
}
