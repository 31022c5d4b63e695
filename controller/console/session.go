package console

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

const (
	// sessionCookie has a prefix by which browsers refuse it from other hosts and without TLS.
	sessionCookie = "__Host-edgekit-console"
	// sessionShare is the share of all sessions, and of all streams, that one user may have.
	sessionShare = 16
	maxLogin     = auth.MaxToken + 1<<10 // bytes of the body of a login
	// sweepEvery is the time between two looks for sessions that are over.
	sweepEvery = time.Minute
)

// sessions keeps the tokens of users who logged in. Times have a monotonic clock reading and
// are only compared with each other.
type sessions struct {
	max        int
	idle, life time.Duration

	mu   sync.Mutex
	byID map[[sha256.Size]byte]*session // by the hash of their id
}

type session struct {
	token      string
	user       string
	made, used time.Time
}

func newSessions(most int, idle, life time.Duration) *sessions {
	return &sessions{max: most, idle: idle, life: life, byID: make(map[[sha256.Size]byte]*session)}
}

func (s *session) over(all *sessions, now time.Time) bool {
	return now.Sub(s.used) >= all.idle || now.Sub(s.made) >= all.life
}

// add makes a session and returns its id. A user who has too many loses the one that was used
// least lately.
func (all *sessions) add(user, token string) (string, error) {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // it does not fail: it ends the program
	id := base64.RawURLEncoding.EncodeToString(raw[:])
	now := time.Now()
	all.mu.Lock()
	defer all.mu.Unlock()
	own, oldest := 0, [sha256.Size]byte{}
	for key, s := range all.byID {
		if s.over(all, now) {
			delete(all.byID, key)
			continue
		}
		if s.user == user {
			if own == 0 || s.used.Before(all.byID[oldest].used) {
				oldest = key
			}
			own++
		}
	}
	if own >= max(1, all.max/sessionShare) {
		delete(all.byID, oldest)
	}
	if len(all.byID) >= all.max {
		return "", fail(http.StatusTooManyRequests, "as many users are logged in as may be: try again later")
	}
	all.byID[sha256.Sum256([]byte(id))] = &session{token: token, user: user, made: now, used: now}
	return id, nil
}

// token returns the token of a session that is not over. used counts it as a request.
func (all *sessions) token(id string, used bool) (string, bool) {
	now := time.Now()
	all.mu.Lock()
	defer all.mu.Unlock()
	key := sha256.Sum256([]byte(id))
	s := all.byID[key]
	switch {
	case s == nil:
		return "", false
	case s.over(all, now):
		delete(all.byID, key)
		return "", false
	}
	if used {
		s.used = now
	}
	return s.token, true
}

// run forgets the tokens of sessions that are over, and all of them when ctx ends.
func (all *sessions) run(ctx context.Context) {
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			all.mu.Lock()
			defer all.mu.Unlock()
			clear(all.byID)
			return
		case now := <-ticks.C:
			all.sweep(now)
		}
	}
}

func (all *sessions) sweep(now time.Time) {
	all.mu.Lock()
	defer all.mu.Unlock()
	for key, s := range all.byID {
		if s.over(all, now) {
			delete(all.byID, key)
		}
	}
}

func (all *sessions) remove(id string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID, sha256.Sum256([]byte(id)))
}

// decodeLogin reads the body of a login.
func decodeLogin(body io.Reader) (token string, err error) {
	raw, err := io.ReadAll(io.LimitReader(body, maxLogin+1))
	if err != nil {
		return "", fail(http.StatusBadRequest, "the body cannot be read")
	}
	var login struct {
		Token string `json:"token"`
	}
	if len(raw) > maxLogin {
		return "", fail(http.StatusRequestEntityTooLarge, "the token is longer than 16 KiB")
	}
	if err := json.Unmarshal(raw, &login); err != nil {
		return "", fail(http.StatusBadRequest, `the body is not {"token": "..."}`)
	}
	if !tokenForm(login.Token) {
		return "", fail(http.StatusBadRequest, "this is not a token: paste what 'kubectl create token' prints, in one line")
	}
	return login.Token, nil
}

// tokenForm reports whether a text can be a bearer token: printable ASCII without spaces.
func tokenForm(token string) bool {
	for i := range len(token) {
		if token[i] <= ' ' || token[i] > '~' {
			return false
		}
	}
	return token != "" && len(token) <= auth.MaxToken
}

// login makes a session of a token.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	select {
	case s.logins <- struct{}{}:
		defer func() { <-s.logins }()
	default:
		writeError(w, errBusy)
		return
	}
	user, id, err := s.newSession(r)
	if err != nil {
		s.writeFailure(w, r, err)
		return
	}
	http.SetCookie(w, cookie(id))
	writeJSON(w, http.StatusOK, struct {
		User string `json:"user"`
	}{user})
}

func (s *Server) newSession(r *http.Request) (user, id string, err error) {
	if err := s.checkOrigin(r, true); err != nil {
		return "", "", err
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return "", "", fail(http.StatusUnsupportedMediaType, "the body must be application/json")
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	token, err := decodeLogin(r.Body)
	if err != nil {
		return "", "", err
	}
	info, err := s.users.of(ctx, token, r.RemoteAddr)
	if err != nil {
		if known := (*apiError)(nil); errors.As(err, &known) && known.Code == http.StatusUnauthorized {
			s.log.Warn("a login to the console was refused", "from", r.RemoteAddr)
		}
		return "", "", err
	}
	if old, err := r.Cookie(sessionCookie); err == nil {
		s.sessions.remove(old.Value)
	}
	if id, err = s.sessions.add(info.Username, token); err != nil {
		return "", "", err
	}
	s.log.Info("a user logged in to the console", "user", info.Username, "from", r.RemoteAddr)
	return info.Username, id, nil
}

// logout ends the session of the cookie.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if err := s.checkOrigin(r, true); err != nil {
		writeError(w, err)
		return
	}
	if c, err := r.Cookie(sessionCookie); err == nil {
		s.sessions.remove(c.Value)
	}
	http.SetCookie(w, cookie(""))
	writeJSON(w, http.StatusOK, struct{}{})
}

// cookie makes the cookie of a session; of no session one that removes it.
func cookie(id string) *http.Cookie {
	c := &http.Cookie{Name: sessionCookie, Value: id, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if id == "" {
		c.MaxAge = -1
	}
	return c
}
