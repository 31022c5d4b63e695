package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// hangingUsers makes users before an API server that takes requests and does not answer.
func hangingUsers(t *testing.T) *users {
	t.Helper()
	cloud, err := kubernetes.NewForConfig(&rest.Config{Host: "http://cloud", QPS: -1, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})})
	if err != nil {
		t.Fatal(err)
	}
	return newUsers(cloud, slog.New(slog.DiscardHandler))
}

// TestHangingReviews: an API server that takes a connection and does not answer holds up no
// request, and no stream, for longer than reviewTime.
func TestHangingReviews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{users: hangingUsers(t)}
		began := time.Now()
		var waiting sync.WaitGroup
		for range 2 { // a second request for the token waits for the review of the first
			waiting.Go(func() {
				if _, err := s.users.of(t.Context(), "T", "192.0.2.1:1"); !errors.Is(err, errAway) {
					t.Errorf("the user: %v", err)
				}
			})
		}
		waiting.Wait()
		if _, err := s.may(t.Context(), who{}, nodesRight("list", "")); !errors.Is(err, errAway) {
			t.Errorf("the right: %v", err)
		}
		if took := time.Since(began); took > 2*reviewTime {
			t.Errorf("it took %s", took)
		}
	})
}

// TestAttackSenders: strangers who use up the reviews of a network, such as that of an Ingress,
// do not keep out those who have logged in through it.
func TestAttackSenders(t *testing.T) {
	cloud := fake.NewClientset()
	cloud.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		review := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		review.Status.Authenticated = review.Spec.Token == "good"
		return true, review, nil
	})
	s := &Server{users: newUsers(cloud, slog.New(slog.DiscardHandler)), sessions: newSessions(64, time.Hour, time.Hour)}
	r := httptest.NewRequest(http.MethodGet, "https://console.example/", nil)
	for i := range 2 * reviewBurst {
		_, _ = s.users.of(t.Context(), fmt.Sprint("bad", i), r.RemoteAddr)
	}
	if _, err := s.users.of(t.Context(), "other", r.RemoteAddr); !errors.Is(err, errBusy) {
		t.Fatalf("one more stranger: %v", err)
	}
	id, err := s.sessions.add("alice", "good")
	if err != nil {
		t.Fatal(err)
	}
	r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id}) //nolint:gosec // of a request
	if _, err := s.identify(r, true); err != nil {
		t.Errorf("a user with a session: %v", err)
	}
}

// TestForget: the token of a session that is over does not stay in memory.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newSessions(64, 30*time.Minute, 2*time.Hour)
		if _, err := all.add("alice", "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { all.run(ctx) })
		count := func() int {
			all.mu.Lock()
			defer all.mu.Unlock()
			return len(all.byID)
		}
		time.Sleep(29 * time.Minute)
		if n := count(); n != 1 {
			t.Errorf("%d sessions before it is over", n)
		}
		time.Sleep(3 * time.Minute)
		if n := count(); n != 0 {
			t.Errorf("%d sessions after it is over", n)
		}
		if _, err := all.add("bob", "b"); err != nil {
			t.Fatal(err)
		}
		cancel()
		running.Wait()
		if n := count(); n != 0 {
			t.Errorf("%d sessions after the end", n)
		}
	})
}

// TestLogEnds: a log that is followed ends when its user has logged out or lost the right.
func TestLogEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var allowed atomic.Bool
		cloud := fake.NewClientset()
		cloud.PrependReactor("create", "tokenreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authenticationv1.TokenReview{Status: authenticationv1.TokenReviewStatus{Authenticated: true}}, nil
		})
		cloud.PrependReactor("create", "subjectaccessreviews", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, &authorizationv1.SubjectAccessReview{Status: authorizationv1.SubjectAccessReviewStatus{Allowed: allowed.Load()}}, nil
		})
		s := &Server{users: newUsers(cloud, slog.New(slog.DiscardHandler)), sessions: newSessions(64, time.Hour, 12*time.Hour)}
		for name, end := range map[string]func(id string){
			"logout": s.sessions.remove, "right": func(string) { allowed.Store(false) },
		} {
			allowed.Store(true)
			time.Sleep(time.Minute) // the answers before are stale
			id, err := s.sessions.add("alice", "T")
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, "https://console.example/", nil)
			r.AddCookie(&http.Cookie{Name: sessionCookie, Value: id}) //nolint:gosec // of a request
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			time.AfterFunc(10*time.Minute, func() { end(id) })
			s.watch(ctx, &request{Request: r}, logRight("plant", "a"), cancel)
			if took := time.Since(began); ctx.Err() == nil || took < 10*time.Minute || took > 10*time.Minute+allowedFresh+beatEvery {
				t.Errorf("%s: it ended after %s, %v", name, took, ctx.Err())
			}
			cancel()
		}
	})
}
