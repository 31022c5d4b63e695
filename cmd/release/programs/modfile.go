package programs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// ristretto's allocator, of which badger makes its tables, computes the place of its next buffer as
// an int: where that has 32 bits the place is 0, and one table overwrites another. The store
// refuses to open in a program that was built with that line.
const (
	allocatorModule = "github.com/dgraph-io/ristretto/v2"
	allocatorFile   = "z/allocator.go"
	wrongLine       = "uint64((bufIdx+1)<<32)"
	rightLine       = "uint64(bufIdx+1)<<32"
)

// The copy is below the source, so that its path in the programs is the same everywhere. The
// folder bin is no part of the repository.
const (
	mendedDir  = "bin/mended"
	mendedCopy = "./bin/mended/ristretto"
)

// narrow reports whether an int has 32 bits on the platform.
func (p Platform) narrow() bool { return p.Arch == "arm" }

// Modfile makes in the source's folder bin a copy of ristretto with that line mended, and a file
// for "go build -modfile" that requires the copy, and returns the file's name. It is an error if the
// source of the required version has neither the wrong nor the right line.
func Modfile(ctx context.Context, source string) (string, error) {
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
		out, err := cmd.Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	if _, err := run("mod", "download", allocatorModule); err != nil {
		return "", fmt.Errorf("programs: %s: %w", allocatorModule, err)
	}
	original, err := run("list", "-m", "-f", "{{.Dir}}", allocatorModule)
	if err != nil {
		return "", fmt.Errorf("programs: %s: %w", allocatorModule, err)
	}
	body, err := os.ReadFile(filepath.Join(original, allocatorFile))
	if err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	text := string(body)
	if n := strings.Count(text, wrongLine); n > 1 || n == 0 && !strings.Contains(text, rightLine) {
		return "", fmt.Errorf("programs: %s of %s has changed: see what its Allocate does where an int has 32 bits", allocatorFile, allocatorModule)
	}
	dir := filepath.Join(source, mendedDir)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	if err := copyModule(filepath.Join(dir, "ristretto"), original); err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ristretto", allocatorFile), []byte(strings.Replace(text, wrongLine, rightLine, 1)), 0o644); err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	for from, to := range map[string]string{"go.mod": "edgekit.mod", "go.sum": "edgekit.sum"} {
		body, err := os.ReadFile(filepath.Join(source, from))
		if err != nil {
			return "", fmt.Errorf("programs: %w", err)
		}
		if err := os.WriteFile(filepath.Join(dir, to), body, 0o644); err != nil {
			return "", fmt.Errorf("programs: %w", err)
		}
	}
	file := filepath.Join(dir, "edgekit.mod")
	if _, err := run("mod", "edit", "-replace="+allocatorModule+"="+mendedCopy, file); err != nil {
		return "", fmt.Errorf("programs: %w", err)
	}
	return file, nil
}

// copyModule copies the files of a module, whose own are read-only, but for its tests.
func copyModule(to, from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if strings.HasSuffix(name, "_test.go") || !d.Type().IsRegular() {
			return nil
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, body, 0o644)
	})
}
