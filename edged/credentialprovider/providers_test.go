package credentialprovider

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestMain is also the stand-in provider: a program that answers with what its
// environment says, and notes each run in a file.
func TestMain(m *testing.M) {
	if os.Getenv("STAND_IN_LOG") != "" {
		if err := standIn(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func standIn() error {
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(os.Getenv("STAND_IN_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(log, "%s\n", input); err != nil {
		return err
	}
	if err := log.Close(); err != nil {
		return err
	}
	var r request
	if err := json.Unmarshal(input, &r); err != nil {
		return err
	}
	if os.Getenv("STAND_IN_HANGS") != "" {
		select {}
	}
	_, err = fmt.Print(strings.NewReplacer("$IMAGE", r.Image, "$TOKEN", r.ServiceAccountToken, "$LONG", strings.Repeat("x", 2<<20)).Replace(os.Getenv("STAND_IN_ANSWER")))
	if code := os.Getenv("STAND_IN_FAILS"); code != "" {
		return fmt.Errorf("the cloud is down: %s", code)
	}
	return err
}

// setUp makes a folder with the stand-in and a provider of it. runs reads how often, and
// with what, it ran.
func setUp(t *testing.T, env ...EnvVar) (Config, func() []request) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "stand-in")); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "log")
	cfg := Config{BinDir: dir, Providers: []Provider{{
		Name: "stand-in", APIVersion: APIVersion, MatchImages: []string{"*.example.com"},
		DefaultCacheDuration: &metav1.Duration{}, Env: append(env, EnvVar{"STAND_IN_LOG", log}),
	}}}
	return cfg, func() []request {
		text, err := os.ReadFile(log)
		if err != nil {
			return nil
		}
		var all []request
		for line := range strings.Lines(string(text)) {
			var r request
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			all = append(all, r)
		}
		return all
	}
}

func answerOf(rest string) EnvVar {
	return EnvVar{"STAND_IN_ANSWER", `{"kind":"CredentialProviderResponse","apiVersion":"` + APIVersion + `",` + rest + `}`}
}

func parse(t *testing.T, name string) image.Ref {
	t.Helper()
	ref, err := image.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// accounts is an account "plant/robot".
type accounts struct {
	annotations map[string]string
	mu          sync.Mutex
	tokens      int
	asked       *authenticationv1.TokenRequest
}

func (a *accounts) ServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	if namespace != "plant" || name != "robot" {
		return nil, fmt.Errorf("no account %s/%s", namespace, name)
	}
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: "account-uid", Annotations: a.annotations}}, nil
}

func (a *accounts) Token(_ context.Context, _, _ string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tokens++
	a.asked = req
	return &authenticationv1.TokenRequest{Status: authenticationv1.TokenRequestStatus{Token: fmt.Sprintf("token-%d", a.tokens)}}, nil
}

func robot(pod string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "robot"}}
	p.Namespace, p.Name, p.UID = "plant", pod, "uid-"+"of-pod"
	return p
}

// TestCredentials asks the stand-in.
func TestCredentials(t *testing.T) {
	const auth = `"auth":{"*.example.com":{"username":"u","password":"p of $IMAGE"},"one.example.com/team":{"username":"team","password":"x"},"else.io":{"username":"no"}}`
	for _, tt := range []struct {
		name, image string
		env         []EnvVar
		want        string // user names
		wantErr     string
		runs        int // of two requests
	}{
		{"kept for the image", "one.example.com/team/app:1", []EnvVar{answerOf(`"cacheKeyType":"Image","cacheDuration":"1h",` + auth)}, "team u", "", 1},
		{"not kept", "one.example.com/app:1", []EnvVar{answerOf(`"cacheKeyType":"Image","cacheDuration":"0s",` + auth)}, "u", "", 2},
		{"not kept by default", "one.example.com/app:1", []EnvVar{answerOf(`"cacheKeyType":"Image",` + auth)}, "u", "", 2},
		{"another registry", "quay.io/app:1", []EnvVar{answerOf(`"cacheKeyType":"Image",` + auth)}, "", "", 0},
		{"nothing for it", "one.example.com/app:1", []EnvVar{answerOf(`"cacheKeyType":"Global","cacheDuration":"1h","auth":{}`)}, "", "", 1},
		{"fails", "one.example.com/app:1", []EnvVar{{"STAND_IN_FAILS", "503"}}, "", "the cloud is down: 503", 2},
		{"no JSON", "one.example.com/app:1", []EnvVar{{"STAND_IN_ANSWER", "secret"}}, "", "not the JSON", 2},
		{"another version", "one.example.com/app:1", []EnvVar{{"STAND_IN_ANSWER", `{"kind":"CredentialProviderResponse","apiVersion":"v9"}`}}, "", "apiVersion", 2},
		{"another kind", "one.example.com/app:1", []EnvVar{{"STAND_IN_ANSWER", `{"kind":"Pod"}`}}, "", "kind", 2},
		{"no cache key", "one.example.com/app:1", []EnvVar{answerOf(auth)}, "", "cacheKeyType", 2},
		{"too much", "one.example.com/app:1", []EnvVar{answerOf(`"cacheKeyType":"Image","x":"$LONG"`)}, "", "more than", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, runs := setUp(t, tt.env...)
			p, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 {
				got, err := p.Credentials(t.Context(), robot("a"), parse(t, tt.image))
				var users []string
				for _, c := range got {
					users = append(users, c.Username)
					if c.Source.Kind != image.KindNode {
						t.Errorf("%+v is not the node's", c.Source)
					}
				}
				if strings.Join(users, " ") != tt.want {
					t.Errorf("users %q, want %q", users, tt.want)
				}
				if (err == nil) != (tt.wantErr == "") || err != nil && (!strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "secret")) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
			}
			if n := len(runs()); n != tt.runs {
				t.Errorf("%d runs, want %d", n, tt.runs)
			}
		})
	}
}

// TestScopes asks for three images after one answer of each scope.
func TestScopes(t *testing.T) {
	for scope, want := range map[string]int{"Image": 3, "Registry": 2, "Global": 1} {
		cfg, runs := setUp(t, answerOf(`"cacheKeyType":"`+scope+`","cacheDuration":"1h","auth":{}`))
		p, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for _, name := range []string{"one.example.com/a:1", "one.example.com/b:1", "two.example.com/a:1"} {
				if _, err := p.Credentials(t.Context(), nil, parse(t, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		all := runs()
		if len(all) != want {
			t.Errorf("%s: %d runs, want %d", scope, len(all), want)
		}
		if r := all[0]; r.Image != "one.example.com/a" || r.Kind != "CredentialProviderRequest" || r.APIVersion != APIVersion || r.ServiceAccountToken != "" {
			t.Errorf("%s: request %+v", scope, r)
		}
	}
}

// TestOneRun asks from many goroutines at once: the program runs once.
func TestOneRun(t *testing.T) {
	cfg, runs := setUp(t, answerOf(`"cacheKeyType":"Registry","cacheDuration":"1h","auth":{"*.example.com":{"username":"u"}}`))
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 8 {
		ref := parse(t, fmt.Sprintf("one.example.com/app%d:1", i))
		all.Go(func() {
			if got, err := p.Credentials(t.Context(), nil, ref); err != nil || len(got) != 1 {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	all.Wait()
	if n := len(runs()); n != 1 {
		t.Errorf("%d runs", n)
	}
}

// TestHangs ends a program with the context of who asked.
func TestHangs(t *testing.T) {
	cfg, runs := setUp(t, EnvVar{"STAND_IN_HANGS", "yes"})
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := p.Credentials(ctx, nil, parse(t, "one.example.com/app:1"))
		done <- err
	}()
	hubtest.Until(t, "the program runs", func() bool { return len(runs()) > 0 })
	cancel()
	if err := <-done; err == nil {
		t.Error("a program that was killed gave credentials")
	}
}

// TestServiceAccounts asks with tokens.
func TestServiceAccounts(t *testing.T) {
	yes, no := true, false
	const good = `"cacheKeyType":"Registry","cacheDuration":"1h","auth":{"*.example.com":{"username":"u","password":"p"}}`
	for _, tt := range []struct {
		name    string
		attrs   TokenAttributes
		account string
		answer  string
		pod     string
		found   int
		source  string
		wantErr string
		runs    int // of two requests
	}{
		{"by account", TokenAttributes{CacheType: CacheByAccount, RequireServiceAccount: &yes}, "robot", good, "", 1, image.KindServiceAccount, "", 1},
		{"by token", TokenAttributes{CacheType: CacheByToken, RequireServiceAccount: &yes}, "robot", good, "", 1, image.KindServiceAccount, "", 2},
		{"static pod", TokenAttributes{CacheType: CacheByToken, RequireServiceAccount: &no}, "", good, "", 1, image.KindNode, "", 1},
		{"static pod is left out", TokenAttributes{CacheType: CacheByToken, RequireServiceAccount: &yes}, "", good, "", 0, "", "", 0},
		{"annotations", TokenAttributes{CacheType: CacheByAccount, RequireServiceAccount: &yes, RequiredServiceAccountAnnotationKeys: []string{"role"}, OptionalServiceAccountAnnotationKeys: []string{"zone"}}, "robot", good, "", 1, image.KindServiceAccount, "", 1},
		{"annotation is missing", TokenAttributes{CacheType: CacheByAccount, RequireServiceAccount: &yes, RequiredServiceAccountAnnotationKeys: []string{"other"}}, "robot", good, "", 0, "", "", 0},
		{"no such account", TokenAttributes{CacheType: CacheByAccount, RequireServiceAccount: &yes}, "nobody", good, "", 0, "", "failed to get service account", 0},
		{"token as password", TokenAttributes{CacheType: CacheByAccount, RequireServiceAccount: &yes}, "robot", strings.Replace(good, `"p"`, `"$TOKEN"`, 1), "", 0, "", "cacheType", 2},
		{"token as password is allowed", TokenAttributes{CacheType: CacheByToken, RequireServiceAccount: &yes}, "robot", strings.Replace(good, `"p"`, `"$TOKEN"`, 1), "", 1, image.KindServiceAccount, "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, runs := setUp(t, answerOf(tt.answer))
			source := &accounts{annotations: map[string]string{"role": "reader", "zone": "a", "secret": "no"}}
			cfg.Accounts = source
			tt.attrs.ServiceAccountTokenAudience = "registry"
			cfg.Providers[0].TokenAttributes = &tt.attrs
			p, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			pod := robot("a")
			pod.Spec.ServiceAccountName = tt.account
			for range 2 {
				got, err := p.Credentials(t.Context(), pod, parse(t, "one.example.com/app:1"))
				if len(got) != tt.found || tt.found > 0 && got[0].Source.Kind != tt.source {
					t.Errorf("%+v, want %d of %s", got, tt.found, tt.source)
				}
				if (err == nil) != (tt.wantErr == "") || err != nil && (!strings.Contains(err.Error(), tt.wantErr) || strings.Contains(err.Error(), "token-")) {
					t.Errorf("error %v, want %q", err, tt.wantErr)
				}
			}
			all := runs()
			if len(all) != tt.runs {
				t.Fatalf("%d runs, want %d", len(all), tt.runs)
			}
			if tt.source == image.KindServiceAccount {
				if r := all[0]; r.ServiceAccountToken != "token-1" || len(r.ServiceAccountAnnotations) != len(tt.attrs.RequiredServiceAccountAnnotationKeys)+len(tt.attrs.OptionalServiceAccountAnnotationKeys) {
					t.Errorf("request %+v", r)
				}
				if s := source.asked.Spec; s.Audiences[0] != "registry" || s.BoundObjectRef.UID != pod.UID {
					t.Errorf("asked for the token %+v", s)
				}
			}
		})
	}
}

// TestSources: on whose behalf a provider is asked is known without its program and without a
// token.
func TestSources(t *testing.T) {
	yes := true
	cfg, runs := setUp(t)
	cfg.Accounts = noTokens{&accounts{}}
	cfg.Providers[0].TokenAttributes = &TokenAttributes{CacheType: CacheByToken, RequireServiceAccount: &yes, ServiceAccountTokenAudience: "registry"}
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ref := parse(t, "one.example.com/app:1")
	want := image.Source{Kind: image.KindServiceAccount, UID: "account-uid", Namespace: "plant", Name: "robot"}
	if got := p.Sources(t.Context(), robot("a"), ref); len(got) != 1 || got[0] != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := p.Sources(t.Context(), robot("a"), parse(t, "quay.io/app:1")); len(got) != 0 {
		t.Errorf("another registry: %+v", got)
	}
	if got, err := p.Credentials(t.Context(), robot("a"), ref); err == nil || len(got) != 0 || len(runs()) != 0 {
		t.Errorf("without a token: %+v, %v, %d runs", got, err, len(runs()))
	}
}

// noTokens has accounts without tokens.
type noTokens struct{ *accounts }

func (noTokens) Token(context.Context, string, string, *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return nil, errors.New("no link")
}

// TestKept bounds what is kept.
func TestKept(t *testing.T) {
	p := &provider{kept: make(map[string]answer)}
	for i := range 2 * maxKept {
		p.keep(fmt.Sprint(i), answer{until: time.Now().Add(time.Hour + time.Duration(i)*time.Minute)})
	}
	if len(p.kept) != maxKept {
		t.Errorf("%d answers are kept", len(p.kept))
	}
	if _, ok := p.kept[fmt.Sprint(2*maxKept-1)]; !ok {
		t.Error("the newest is not kept")
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"kind":"CredentialProviderResponse","apiVersion":"` + APIVersion + `","cacheKeyType":"Image","cacheDuration":"1h","auth":{"a.io":{"username":"u","password":"p"}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseResponse(text, APIVersion)
		if (got == nil) == (err == nil) {
			t.Errorf("%v, %v", got, err)
		}
	})
}
