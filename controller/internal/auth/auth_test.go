package auth_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRights: the API server is asked once for each user and right while its answer is fresh.
func TestRights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		var broken error
		cloud := fake.NewClientset()
		cloud.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
			asked++
			review := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
			review.Status.Allowed = review.Spec.User == "alice"
			return true, review, broken
		})
		rights := &auth.Rights{Cloud: cloud, AllowedFresh: time.Minute, DeniedFresh: time.Second, Logger: slog.New(slog.DiscardHandler)}
		for i, step := range []struct {
			wait  time.Duration
			user  string
			asked int
		}{
			{0, "alice", 1}, {0, "bob", 2}, {0, "bob", 2}, {time.Second, "bob", 3}, {0, "alice", 3}, {time.Minute, "alice", 4},
		} {
			time.Sleep(step.wait)
			allowed, err := rights.Allowed(t.Context(), authenticationv1.UserInfo{Username: step.user}, authorizationv1.ResourceAttributes{Verb: "get"})
			if err != nil || allowed != (step.user == "alice") || asked != step.asked {
				t.Errorf("step %d: %t, %v, asked %d times", i, allowed, err, asked)
			}
		}
		broken = errors.New("dial 10.0.0.1: refused")
		if allowed, err := rights.Allowed(t.Context(), authenticationv1.UserInfo{Username: "carol"}, authorizationv1.ResourceAttributes{}); allowed || err == nil || errors.Is(err, broken) {
			t.Errorf("without an answer: %t, %v", allowed, err)
		}
	})
}

// TestKeepFresh: a failure is tried again soon, and reported once until a success.
func TestKeepFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		results := []error{nil, errors.New("1"), errors.New("2"), nil, errors.New("3")}
		var at []time.Duration
		var failures []string
		auth.KeepFresh(ctx, func(context.Context) error {
			at = append(at, time.Since(began))
			if len(at) == len(results) {
				defer time.AfterFunc(time.Second, cancel)
			}
			return results[len(at)-1]
		}, func(err error) { failures = append(failures, err.Error()) })
		want := []time.Duration{0, time.Minute, 62 * time.Second, 64 * time.Second, 124 * time.Second}
		if !slices.Equal(at, want) || !slices.Equal(failures, []string{"1", "3"}) {
			t.Errorf("read at %v, reported %v", at, failures)
		}
	})
}

// TestReviewer: at most 16 reviews are under way; a further one does not wait.
func TestReviewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		server := func(r *http.Request) (*http.Response, error) {
			<-release
			return &http.Response{
				StatusCode: http.StatusCreated, Header: http.Header{"Content-Type": {"application/json"}}, Request: r,
				Body: io.NopCloser(strings.NewReader(`{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true}}`)),
			}, nil
		}
		cloud, err := kubernetes.NewForConfig(&rest.Config{Host: "http://cloud", QPS: -1, Transport: roundTripper(server)})
		if err != nil {
			t.Fatal(err)
		}
		reviewer := auth.NewReviewer(cloud)
		var reviews sync.WaitGroup
		for range 16 {
			reviews.Go(func() {
				if status, err := reviewer.Review(t.Context(), "token"); err != nil || !status.Authenticated {
					t.Errorf("review: %+v, %v", status, err)
				}
			})
		}
		synctest.Wait()
		if _, err := reviewer.Review(t.Context(), "token"); !errors.Is(err, auth.ErrBusy) {
			t.Errorf("review 17: %v", err)
		}
		close(release)
		reviews.Wait()
		if _, err := reviewer.Review(t.Context(), "token"); err != nil {
			t.Errorf("a later review: %v", err)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestBearerToken(t *testing.T) {
	for header, want := range map[string]string{"": "", "Bearer": "", "Bearer ": "", "Basic abc": "", "Bearer abc": "abc", "bearer  abc ": "abc"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if got := auth.BearerToken(r); got != want {
			t.Errorf("%q: %q", header, got)
		}
	}
}

func TestCache(t *testing.T) {
	var c auth.Cache[int, string]
	now := time.Now()
	c.Put(-1, "x", now.Add(time.Second))
	for i, want := range map[time.Duration]bool{0: true, time.Second - 1: true, time.Second: false} {
		if got, ok := c.Get(-1, now.Add(i)); ok != want || (got == "x") != want {
			t.Errorf("after %s: %q, %t", i, got, ok)
		}
	}
	for i := range 4095 {
		c.Put(i, "", now.Add(time.Second))
	}
	if _, ok := c.Get(-1, now); !ok {
		t.Error("a cache of 4096 answers has lost one")
	}
	c.Put(4095, "", now.Add(time.Second))
	_, first := c.Get(-1, now)
	if _, last := c.Get(4095, now); first || !last {
		t.Errorf("one answer more: the first is kept: %t, the last: %t", first, last)
	}
}
