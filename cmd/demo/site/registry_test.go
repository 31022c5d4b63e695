package site

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestRegistry walks from a tag to the manifest and to all that it names.
func TestRegistry(t *testing.T) {
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	r := &Registry{blobs: make(map[string][]byte)}
	if err := r.load(program); err != nil {
		t.Fatal(err)
	}
	get := func(path string, want int) []byte {
		t.Helper()
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		body, err := io.ReadAll(w.Result().Body)
		if err != nil || w.Code != want {
			t.Fatalf("%s: %d, %v", path, w.Code, err)
		}
		return body
	}
	get("/v2/", http.StatusOK)
	var manifest struct {
		Config struct{ Digest string }
		Layers []struct {
			Digest string
			Size   int
		}
	}
	if err := json.Unmarshal(get("/v2/shop/web/manifests/latest", http.StatusOK), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Layers) != 1 || r.Pulls() != 1 {
		t.Fatalf("manifest %+v after %d pulls", manifest, r.Pulls())
	}
	for _, want := range []string{manifest.Config.Digest, manifest.Layers[0].Digest} {
		if got := digest(get("/v2/shop/web/blobs/"+want, http.StatusOK)); got != want {
			t.Errorf("blob %s has digest %s", want, got)
		}
	}
	get("/v2/shop/web/blobs/sha256:0", http.StatusNotFound)
}
