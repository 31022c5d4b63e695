package pagetest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// maxBundle is how large all of the page may be, compressed.
const maxBundle = 100 << 10

// TestBundle looks at what a browser loads: its size, and that index.html names it all and has
// nothing inline.
func TestBundle(t *testing.T) {
	dist := os.DirFS("../page/dist")
	sum := 0
	var names []string
	err := fs.WalkDir(dist, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		names = append(names, name)
		text, err := fs.ReadFile(dist, name)
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		_, _ = w.Write(text)
		_ = w.Close()
		if name != "LICENSES.txt" {
			sum += packed.Len()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("RESULT console_bundle %.1f KiB\n", float64(sum)/1024)
	if sum > maxBundle {
		t.Errorf("the page has %d bytes compressed, more than %d", sum, maxBundle)
	}
	index, err := fs.ReadFile(dist, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if name != "index.html" && name != "LICENSES.txt" && !bytes.Contains(index, []byte(`"/console/`+name+`"`)) {
			t.Errorf("index.html does not name %s: run 'make console'", name)
		}
	}
	for _, bad := range []string{"<style", "style=", " on", "javascript:", "http:", "https:", "<script>"} {
		if bytes.Contains(index, []byte(bad)) {
			t.Errorf("index.html has %q", bad)
		}
	}
}

// modules installs what package-lock.json names into a copy of the page's sources and returns the
// copy; without npm, or when its registry cannot be reached, it skips the test.
func modules(t *testing.T) string {
	t.Helper()
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s: the page is not built anew", program)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", "build.mjs", "tsconfig.json"} {
		text, err := os.ReadFile(filepath.Join("../page", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "src"), os.DirFS("../page/src")); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, "npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"); err != nil {
		if strings.Contains(out, "ENOTFOUND") || strings.Contains(out, "ETIMEDOUT") || strings.Contains(out, "ECONNREFUSED") || strings.Contains(out, "EAI_AGAIN") {
			t.Skipf("npm reaches no registry: the page is not built anew: %s", out)
		}
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	return dir
}

func run(t *testing.T, dir, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestBuild builds the page anew and compares it with what is committed.
func TestBuild(t *testing.T) {
	dir := modules(t)
	if out, err := run(t, dir, "npm", "run", "check"); err != nil {
		t.Errorf("the types do not fit: %v\n%s", err, out)
	}
	if out, err := run(t, dir, "npm", "run", "build"); err != nil {
		t.Fatalf("the build fails: %v\n%s", err, out)
	}
	built, committed := contents(t, filepath.Join(dir, "dist")), contents(t, "../page/dist")
	for name, text := range built {
		if committed[name] != text {
			t.Errorf("page/dist/%s is not what the sources give: run 'make console' and commit page/dist", name)
		}
	}
	for name := range committed {
		if _, ok := built[name]; !ok {
			t.Errorf("page/dist/%s is left from before: run 'make console' and commit page/dist", name)
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	return out
}

// axeSource returns axe-core, or nothing where it cannot be had.
func axeSource(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../page/node_modules/axe-core/axe.min.js")
	if err == nil {
		return string(text)
	}
	source := ""
	t.Run("axe-core", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(modules(t), "node_modules/axe-core/axe.min.js"))
		if err != nil {
			t.Fatal(err)
		}
		source = string(text)
	})
	if source == "" {
		t.Log("without axe-core: accessibility is not checked")
	}
	return source
}
