package delegated_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/delegated"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster knows the tokens "admin" and "user"; the former may get everything below /debug/pprof/.
func cluster(reviews *int, away *bool) *fake.Clientset {
	c := fake.NewClientset()
	c.PrependReactor("create", "tokenreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		*reviews++
		if *away {
			return true, nil, errors.New("secret cause")
		}
		r := a.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		r.Status.Authenticated = r.Spec.Token == "admin" || r.Spec.Token == "user"
		r.Status.User.Username = r.Spec.Token
		return true, r, nil
	})
	c.PrependReactor("create", "subjectaccessreviews", func(a clienttesting.Action) (bool, runtime.Object, error) {
		r := a.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		n := r.Spec.NonResourceAttributes
		r.Status.Allowed = r.Spec.User == "admin" && n != nil && n.Verb == "get" && strings.HasPrefix(n.Path, "/debug/pprof/")
		return true, r, nil
	})
	return c
}

func TestProtect(t *testing.T) {
	reviews, away := 0, false
	g, err := delegated.New(delegated.Config{Cloud: cluster(&reviews, &away)})
	if err != nil {
		t.Fatal(err)
	}
	h := g.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "profile") }))
	ask := func(method, from, path, token string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, nil)
		r.RemoteAddr = from
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const here = "127.0.0.1:5000"
	for _, tt := range []struct {
		method, from, path, token string
		status                    int
		says                      string
	}{
		{"GET", here, "/debug/pprof/heap", "admin", 200, "profile"},
		{"GET", "[::1]:5000", "/debug/pprof/heap", "admin", 200, "profile"},
		{"POST", here, "/debug/pprof/heap", "admin", 403, "to post the non-resource URL"},
		{"GET", here, "/debug/pprof/heap", "user", 403, `user "user" needs the right to get the non-resource URL /debug/pprof/heap`},
		{"GET", here, "/debug/pprof/heap", "stranger", 401, "does not know"},
		{"GET", here, "/debug/pprof/heap", "", 401, "bearer token"},
		{"GET", here, "/debug/pprof/heap", strings.Repeat("x", 1<<20), 401, "bearer token"},
		{"GET", "192.0.2.7:5000", "/debug/pprof/heap", "admin", 403, "plain text"},
		{"GET", "nonsense", "/debug/pprof/heap", "admin", 403, "plain text"},
	} {
		if w := ask(tt.method, tt.from, tt.path, tt.token); w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%+.120v: %d %s", tt, w.Code, w.Body)
		}
	}
	away = true
	if w := ask("GET", here, "/debug/pprof/heap", "admin"); w.Code != 503 || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("the API server is away: %d %s", w.Code, w.Body)
	}
	before := reviews
	for range 1000 {
		ask("GET", here, "/debug/pprof/heap", "guess")
	}
	if reviews-before > 20 {
		t.Errorf("a flood made %d reviews", reviews-before)
	}
	if _, err := delegated.New(delegated.Config{}); err == nil {
		t.Error("made without a client")
	}
}

func Example() {
	_, err := delegated.New(delegated.Config{})
	fmt.Println(err)
	// Output: delegated: Config.Cloud is required: a client of the API server
}
