package static_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/static"
)

// site is a web server with one manifest.
type site struct {
	mu       sync.Mutex
	text     string
	status   int
	asked    int
	notModed int
	changed  chan struct{} // closed when it is asked
}

func (s *site) set(status int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.text = status, text
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	if r.Header.Get("X-Token") != "secret" {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	tag := fmt.Sprintf("%q", fmt.Sprint(len(s.text)))
	if s.status == http.StatusOK && r.Header.Get("If-None-Match") == tag {
		s.notModed++
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("ETag", tag)
	w.WriteHeader(s.status)
	_, _ = io.WriteString(w, s.text)
}

// follow runs a URL until the test's end; lists come on the channel.
func follow(t *testing.T, server *httptest.Server, file string) (lists chan []*corev1.Pod, stop func()) {
	t.Helper()
	u, err := static.NewURL(static.URLConfig{URL: server.URL + "/pods?key=1", Header: http.Header{"X-Token": {"secret"}}, Node: "gate-7", File: file, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	lists = make(chan []*corev1.Pod, 1000)
	done := make(chan error, 1)
	go func() {
		done <- u.Run(ctx, func(pods []*corev1.Pod) {
			select {
			case lists <- pods:
			case <-ctx.Done():
			}
		})
	}()
	return lists, func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// await is the next list.
func await(t *testing.T, lists chan []*corev1.Pod) []*corev1.Pod {
	t.Helper()
	select {
	case l := <-lists:
		return l
	case <-t.Context().Done():
		t.Fatal("no list")
		return nil
	}
}

// TestURL reads pods from a web server: one, then a list; a wrong answer, a large one and
// a server that is away change nothing, also over a restart.
func TestURL(t *testing.T) {
	s := &site{status: http.StatusOK, text: manifest}
	server := httptest.NewServer(s)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "kept", "pods")
	lists, stop := follow(t, server, file)
	if l := await(t, lists); len(l) != 0 {
		t.Errorf("before the first answer: %v", l)
	}
	l := await(t, lists)
	if len(l) != 1 || l[0].Name != "web-gate-7" || !static.Is(l[0]) || l[0].Annotations[static.SourceAnnotation] != "http" {
		t.Fatalf("%+v", l)
	}
	two := "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: b}\n  spec: {containers: [{name: c, image: i}]}\n- metadata: {name: a}\n  spec: {containers: [{name: c, image: i}]}\n"
	s.set(http.StatusOK, two)
	if l = await(t, lists); len(l) != 2 || l[0].Name != "a-gate-7" || l[1].Name != "b-gate-7" {
		t.Fatalf("%+v", l)
	}
	for _, bad := range []string{"kind: Pod", "{", strings.Repeat("#", 1<<20+1), manifest + "---\n" + manifest,
		"apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: b}\n  spec: {}\n", strings.ReplaceAll(two, "name: a}", "name: b}"), "apiVersion: v1\nkind: PodList\nitem: []\n"} {
		s.set(http.StatusOK, bad)
		s.asks(t, 2)
	}
	s.set(http.StatusInternalServerError, "")
	s.asks(t, 2)
	if len(lists) != 0 {
		t.Errorf("a bad answer changed the pods: %v", await(t, lists))
	}
	stop()
	text, err := os.ReadFile(file)
	if info, _ := os.Stat(file); err != nil || !strings.HasSuffix(string(text), two) || info.Mode().Perm() != 0o600 {
		t.Errorf("kept %q, %v", text, err)
	}
	lists, stop = follow(t, server, file) // the server still fails
	if l = await(t, lists); len(l) != 2 {
		t.Errorf("after a restart without the server: %+v", l)
	}
	s.set(http.StatusOK, "apiVersion: v1\nkind: PodList\n")
	if l = await(t, lists); len(l) != 0 {
		t.Errorf("an empty list: %+v", l)
	}
	s.asks(t, 3)
	stop()
	if s.notModed == 0 {
		t.Error("the text was sent again each time")
	}
}

// asks waits until the server was asked n times more.
func (s *site) asks(t *testing.T, n int) {
	t.Helper()
	s.mu.Lock()
	until := s.asked + n
	s.mu.Unlock()
	for {
		s.mu.Lock()
		if s.asked >= until {
			s.mu.Unlock()
			return
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		asked := s.changed
		s.mu.Unlock()
		select {
		case <-asked:
		case <-t.Context().Done():
			t.Fatal("the server is not asked")
		}
	}
}

func TestNewURL(t *testing.T) {
	for want, cfg := range map[string]static.URLConfig{
		"is no URL":            {URL: "site/pods", Node: "n", File: "/f"},
		"Node is required":     {URL: "http://site", File: "/f"},
		"not an absolute path": {URL: "http://site", Node: "n", File: "f"},
		"Every is negative":    {URL: "http://site", Node: "n", File: "/f", Every: -1},
	} {
		if _, err := static.NewURL(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
