package apiserver

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// transport is a link that answers with a function.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answerOf(r *http.Request, code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r}
}

// newPassing is a guarded scene with a link, whose pod may read config maps.
func newPassing(t *testing.T, link transport) *guarded {
	g := newGuarded(t)
	g.connected, g.since = true, time.Now().Add(-time.Hour)
	g.Server.cfg.Transport = link
	g.Server.proxy = g.newProxy()
	g.put("configmaps", "1", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}})
	g.put("clusterroles", "1", &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "r"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}})
	g.put("clusterrolebindings", "1", &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "r"}, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "shop", Name: "clerk"}}})
	return g
}

// TestPassFails: what happens to a read and to a write when the link fails in the several ways.
func TestPassFails(t *testing.T) {
	for name, tt := range map[string]struct {
		err         error
		read, write int
		text        string // in the answer to the write
	}{
		"lost":        {fmt.Errorf("x: %w", manager.ErrOffline), 200, 503, `"reason":"Offline"`},
		"busy":        {fmt.Errorf("x: %w", manager.ErrBusy), 429, 429, "cloudcore serves as many"},
		"unknown":     {errors.New("odd"), 503, 503, "edgecore's log"},
		"old version": {fmt.Errorf("x: %w", manager.ErrUnsupported), 200, 503, "out of reach"}, // by a call, which the fake cloud has none for
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			g := newPassing(t, func(*http.Request) (*http.Response, error) { asked++; return nil, tt.err })
			token := g.token(t, nil)
			if code, body := g.as(token, "/api/v1/configmaps"); code != tt.read {
				t.Errorf("read: %d %s", code, body)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.http.URL+"/api/v1/namespaces/shop/configmaps", strings.NewReader(`{"metadata":{"name":"x"}}`))
			must(t, err)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Content-Type", "application/json")
			resp, err := g.http.Client().Do(req)
			must(t, err)
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			resp.Body.Close()
			if resp.StatusCode != tt.write || !strings.Contains(string(body), tt.text) || (tt.write == 429) != (resp.Header.Get("Retry-After") == "1") {
				t.Errorf("write: %d %s %v", resp.StatusCode, body, resp.Header)
			}
			if want := map[bool]int{true: 1, false: 2}[name == "old version"]; asked != want {
				t.Errorf("the link was asked %d times", asked)
			}
			if name == "old version" {
				g.link.changed(true) // perhaps to a newer cloudcore
				if g.link.isOld() {
					t.Error("a new connection is still taken for an old version")
				}
			}
		})
	}
}

// TestExpiredWhileOnline: a token that ended while the node was offline gets what the node holds
// until the pod has a new one; the API server would refuse it.
func TestExpiredWhileOnline(t *testing.T) {
	g := newPassing(t, func(r *http.Request) (*http.Response, error) {
		t.Errorf("the API server is asked for %s", r.URL)
		return answerOf(r, 401, "{}"), nil
	})
	g.since = time.Now()
	old := g.token(t, func(_, c map[string]any) { c["exp"] = time.Now().Add(-time.Minute).Unix() })
	if code, body := g.as(old, "/api/v1/configmaps"); code != http.StatusOK || !strings.Contains(body, `"name":"c"`) {
		t.Errorf("%d %s", code, body)
	}
}

// TestCutAnswer: a list that is cut off ends with an error and never looks whole; a watch ends.
func TestCutAnswer(t *testing.T) {
	g := newPassing(t, func(r *http.Request) (*http.Response, error) {
		resp := answerOf(r, 200, "")
		resp.ContentLength = -1
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader("{}\n"), failing{}))
		return resp, nil
	})
	for path, whole := range map[string]bool{"/api/v1/configmaps": false, "/api/v1/configmaps?watch=1": true} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.http.URL+path, nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+g.token(t, nil))
		resp, err := g.http.Client().Do(req)
		must(t, err)
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) != "{}\n" || (err == nil) != whole {
			t.Errorf("%s: %q %v", path, text, err)
		}
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the link is lost") }

// TestLocalWatchEnds: without FollowLink, a watch of the store notices the link by itself.
func TestLocalWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		var connected atomic.Bool
		s, err := New(Config{Store: store, Node: "gate-7", Connected: func() (bool, time.Time) { return connected.Load(), time.Time{} },
			Transport: transport(func(*http.Request) (*http.Response, error) { return nil, manager.ErrOffline })})
		must(t, err)
		who := Identity{User: "system:serviceaccount:shop:clerk", token: "a.b.c", node: true} // node: no rules are read
		follow := func() (*httptest.ResponseRecorder, chan struct{}) {
			w, done := httptest.NewRecorder(), make(chan struct{})
			go func() {
				defer close(done)
				s.serve(w, httptest.NewRequest(http.MethodGet, "/api/v1/configmaps?watch=1", nil).WithContext(t.Context()), who)
			}()
			synctest.Wait()
			return w, done
		}
		w, done := follow()
		connected.Store(true)
		<-done
		if !strings.Contains(w.Body.String(), `"code":410`) || w.Header().Get(HeaderPartial) != "true" {
			t.Errorf("%v %s", w.Header(), w.Body)
		}
		// One that the store answers although the node is connected is short.
		began := time.Now()
		_, done = follow()
		<-done
		if took := time.Since(began); took != briefWatch {
			t.Errorf("it took %s", took)
		}
	})
}

// TestSlowClient: a client that reads nothing, or next to nothing, loses its answer; one that reads
// slowly keeps it.
func TestSlowClient(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration // for 8 KiB
		ends  bool
	}{"slow": {400 * time.Millisecond, false}, "a trickle": {20 * time.Second, true}, "stuck": {time.Hour, true}} {
		synctest.Test(t, func(t *testing.T) {
			inner := &slowWriter{every: tt.every}
			w := new(stalled).client(inner)
			var err error
			for i := 0; i < 1000 && err == nil; i++ {
				_, err = w.Write(make([]byte, 8<<10))
			}
			if (err != nil) != tt.ends {
				t.Errorf("%s: %v after %s", name, err, w.waited)
			}
			if tt.ends && w.waited > writeWait+2*time.Second {
				t.Errorf("%s: it was waited for %s", name, w.waited)
			}
		})
	}
}

// slowWriter takes a time for each write, up to its deadline.
type slowWriter struct {
	http.ResponseWriter
	every    time.Duration
	deadline time.Time
}

func (w *slowWriter) SetWriteDeadline(t time.Time) error { w.deadline = t; return nil }

func (w *slowWriter) Write(b []byte) (int, error) {
	if left := time.Until(w.deadline); left < w.every {
		time.Sleep(left)
		return 0, errors.New("deadline")
	}
	time.Sleep(w.every)
	return len(b), nil
}

// TestStalledClients: when more clients do not read than may, those that wait longest are cut off.
// One that reads in time is none of them, and one that was slow once is none for ever.
func TestStalledClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &stalled{}
		slow := all.client(&slowWriter{every: 2 * stalledAfter})
		for range 3 {
			if _, err := slow.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		errs := make([]error, maxStalled+4)
		var writes sync.WaitGroup
		for i := range errs {
			w := newStuckWriter()
			client := all.client(w)
			writes.Go(func() { _, errs[i] = client.Write([]byte("x")) })
			time.Sleep(time.Millisecond)
		}
		if _, err := all.client(&slowWriter{every: stalledAfter / 2}).Write([]byte("x")); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * stalledAfter)
		synctest.Wait()
		if n := all.count(); n != maxStalled {
			t.Errorf("%d clients wait, want %d", n, maxStalled)
		}
		time.Sleep(writeWait)
		writes.Wait()
		for i, err := range errs {
			if cut := errors.Is(err, errStalled); err == nil || cut != (i < 4) {
				t.Errorf("client %d: %v", i, err)
			}
		}
		if n := all.count(); n != 0 {
			t.Errorf("%d clients wait at the end", n)
		}
	})
}

func (a *stalled) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waits)
}

// stuckWriter's writes last until their deadline.
type stuckWriter struct {
	http.ResponseWriter
	deadlines chan time.Time
}

func newStuckWriter() *stuckWriter { return &stuckWriter{deadlines: make(chan time.Time, 8)} }

func (w *stuckWriter) SetWriteDeadline(t time.Time) error { w.deadlines <- t; return nil }

func (w *stuckWriter) Write([]byte) (int, error) {
	end := <-w.deadlines
	for {
		select {
		case end = <-w.deadlines:
		case <-time.After(time.Until(end)):
			return 0, errors.New("deadline")
		}
	}
}

// TestStalledUpgrade: the connection of an upgraded request is cut off too.
func TestStalledUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := &stalled{}
		near, far := net.Pipe()
		defer far.Close()
		conn, _, err := all.client(hijackable{near}).Hijack()
		must(t, err)
		var writes sync.WaitGroup
		writes.Go(func() {
			if _, err := conn.Write([]byte("x")); !errors.Is(err, errStalled) {
				t.Errorf("the write ended with %v", err)
			}
		})
		time.Sleep(time.Hour)
		for range maxStalled {
			client := all.client(newStuckWriter())
			writes.Go(func() { _, _ = client.Write([]byte("x")) })
		}
		writes.Wait()
		if _, err := conn.Write([]byte("x")); !errors.Is(err, errStalled) {
			t.Errorf("a write after the end: %v", err)
		}
		conn.Close()
	})
}

type hijackable struct{ conn net.Conn }

func (hijackable) Header() http.Header                            { return nil }
func (hijackable) Write([]byte) (int, error)                      { return 0, nil }
func (hijackable) WriteHeader(int)                                {}
func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) { return h.conn, nil, nil }
