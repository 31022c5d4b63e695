package kubesecrets

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSecret reads Secrets of a server that asks for the token.
func TestSecret(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer of-the-pod":
			w.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path == "/api/v1/namespaces/plant/secrets/boiler":
			fmt.Fprint(w, `{"kind":"Secret","data":{"password":"aHVudGVyMg==","empty":""}}`)
		case r.URL.Path == "/api/v1/namespaces/plant/secrets/odd":
			fmt.Fprint(w, `{"data":{"password":7}}`)
		case r.URL.Path == "/api/v1/namespaces/plant/secrets/moved":
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusFound)
		case strings.HasPrefix(r.URL.Path, "/api/v1/namespaces/plant/"):
			w.WriteHeader(http.StatusNotFound)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	write := func(name string, text []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(Config{Server: server.URL, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	read := func(namespace, name, key string) string {
		value, err := s.Secret(t.Context(), namespace, name, key)
		if err != nil {
			return err.Error()
		}
		return "value " + string(value)
	}
	want := func(got, want string) {
		t.Helper()
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want(read("plant", "boiler", "password"), "automountServiceAccountToken")
	write("token", []byte("an-old-one\n"))
	write("ca.crt", []byte("nonsense"))
	want(read("plant", "boiler", "password"), "no certificate")
	write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	want(read("plant", "boiler", "password"), "does not accept the token")
	write("token", []byte("of-the-pod\n"))
	want(read("plant", "boiler", "password"), "value hunter2")
	want(read("plant", "boiler", "empty"), "value ")
	want(read("plant", "boiler", "user"), "no such key")
	want(read("plant", "other", "user"), "no such Secret")
	want(read("plant", "odd", "password"), "the API's answer")
	want(read("plant", "moved", "password"), "302")
	want(read("office", "boiler", "password"), `"get"`)
	for _, name := range []string{"", "..", "a/b", "a%2fb", "a?b"} {
		want(read("plant", name, "password"), "cannot be names")
		want(read(name, "boiler", "password"), "cannot be names")
	}
}

// TestKept reads a Secret while the API goes away, comes back with another value, and refuses.
func TestKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Secrets{kept: make(map[string]kept)}
		away, refused := fmt.Errorf("%w: refused", errAway), errors.New("forbidden")
		s.keep("a/b/c", []byte("one"), nil)
		s.keep("a/b/c", nil, away)
		if string(s.kept["a/b/c"].value) != "one" {
			t.Error("the value is not kept while the API is away")
		}
		time.Sleep(fresh)
		s.keep("a/b/c", []byte("two"), nil)
		if k := s.kept["a/b/c"]; string(k.value) != "two" || !k.at.Equal(time.Now()) {
			t.Errorf("kept is %+v", k)
		}
		s.keep("a/b/c", nil, refused)
		s.keep("a/b/large", make([]byte, maxValue+1), nil)
		if len(s.kept) != 0 {
			t.Errorf("kept is %v", s.kept)
		}
		for i := range 2 * maxKept {
			s.keep(fmt.Sprint(i), nil, nil)
		}
		if len(s.kept) != maxKept {
			t.Errorf("%d values are kept", len(s.kept))
		}
	})
}

// TestAway has the API end: what was read before is used.
func TestAway(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"data":{"password":"aHVudGVyMg=="}}`)
	}))
	dir := t.TempDir()
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "token"), []byte("t"), 0o600), os.WriteFile(filepath.Join(dir, "ca.crt"), certificate, 0o600)); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Server: server.URL, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Secret(t.Context(), "plant", "boiler", "password"); err != nil {
		t.Fatal(err)
	}
	server.Close()
	s.kept["plant/boiler/password"] = kept{s.kept["plant/boiler/password"].value, time.Now().Add(-fresh)} // as if time had passed
	if value, err := s.Secret(t.Context(), "plant", "boiler", "password"); err != nil || string(value) != "hunter2" {
		t.Errorf("%q, %v", value, err)
	}
	if _, err := s.Secret(t.Context(), "plant", "boiler", "other"); !errors.Is(err, errAway) {
		t.Error(err)
	}
}

func TestNew(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	s, err := New(Config{})
	if err != nil || s.cfg.Server != "https://[fd00::1]:443" || s.cfg.Dir != DefaultDir {
		t.Errorf("%+v, %v", s, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, cfg := range []Config{{}, {Server: "http://a"}, {Server: "https://"}, {Server: "\x00"}} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Server") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(200, []byte(`{"data":{"k":"aHVudGVyMg=="}}`))
	f.Fuzz(func(t *testing.T, status int, text []byte) {
		if value, err := decode(status, text, "k"); err == nil && (status != 200 || len(value) > len(text)) {
			t.Errorf("%d %q was read as %q", status, text, value)
		}
	})
}

func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{Name: "api_secret", Before: `{"data":{`, Between: ",", After: "}}", Units: []string{`"a":""`, `"b":"aGE="`, `"c":null`}, Tokens: decodetest.JSONTokens(),
		Whole: [][]byte{decodetest.Keys(`{"data":{`, `""`, `}}`)}, Decode: func(b []byte) { _, _ = decode(200, b, "a") }})
}
