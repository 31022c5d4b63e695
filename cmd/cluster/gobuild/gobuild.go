package gobuild

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Target is one program to build.
type Target struct {
	Module  string // the folder of the module to build in
	Package string // the main package's import path, or a path like ./cmd/x
	Output  string // the file to write
	LDFlags string // besides -s -w
	Tags    string // build tags with commas, besides grpcnotrace
	Test    bool   // build the package's tests, as go test -c does, instead of its main function
	// Always runs the build although Output exists, for sources that change;
	// Go's own cache then makes it short. A file that would be the same is
	// left alone.
	Always bool
}

// every is how often a build that goes on says so.
const every = 5 * time.Second

// Build makes the target's file unless it exists, and tells out what it does.
// The file appears whole or not at all. Builds are static: no cgo. They leave grpc's
// request traces out, as the Makefile's builds do.
func Build(ctx context.Context, out io.Writer, t Target) error {
	if _, err := os.Stat(t.Output); err == nil && !t.Always {
		return nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("gobuild: %s: the go command is not in PATH (with sudo, pass PATH on: sudo env PATH=\"$PATH\" ...): %w", filepath.Base(t.Output), err)
	}
	if err := os.MkdirAll(filepath.Dir(t.Output), 0o755); err != nil {
		return fmt.Errorf("gobuild: %w", err)
	}
	tmp := fmt.Sprintf("%s.%d.tmp", t.Output, os.Getpid())
	defer func() { _ = os.Remove(tmp) }() // gone already when the build succeeded
	verb := []string{"build"}
	if t.Test {
		verb = []string{"test", "-c", "-vet=off"}
	}
	cmd := exec.CommandContext(ctx, "go", append(verb, "-v", "-trimpath", "-tags="+strings.Trim("grpcnotrace,"+t.Tags, ","), "-ldflags=-s -w"+spaced(t.LDFlags), "-o", tmp, t.Package)...)
	cmd.Dir = t.Module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	if err := run(cmd, out, filepath.Base(t.Output), t.Always); err != nil {
		return err
	}
	if same(tmp, t.Output) {
		return nil // a program that runs from it is up to date
	}
	if err := os.Rename(tmp, t.Output); err != nil {
		return fmt.Errorf("gobuild: %w", err)
	}
	return nil
}

// same reports whether two files hold the same bytes.
func same(a, b string) bool {
	x, err1 := os.ReadFile(a)
	y, err2 := os.ReadFile(b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func spaced(flags string) string {
	if flags == "" {
		return ""
	}
	return " " + flags
}

// run runs the build. go build -v names each package that it compiles on
// standard error; what it complains of comes there too.
func run(cmd *exec.Cmd, out io.Writer, name string, quiet bool) error {
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("gobuild: %w", err)
	}
	began := time.Now()
	if !quiet {
		fmt.Fprintf(out, "  building %s\n", name)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("gobuild: %s: %w", name, err)
	}
	lines := make(chan string)
	go func() { // ends with the build, whose standard error it reads
		defer close(lines)
		for s := bufio.NewScanner(stderr); s.Scan(); {
			lines <- s.Text()
		}
	}()
	tick := time.NewTicker(every)
	defer tick.Stop()
	var packages int
	var last string
	var complaints []string
	for open := true; open; {
		var line string
		select {
		case line, open = <-lines:
			switch {
			case !open:
			case isPackage(line):
				packages, last = packages+1, line
			case !strings.HasPrefix(line, "go: downloading"):
				complaints = append(complaints, line)
			default:
				last = strings.TrimPrefix(line, "go: ")
			}
		case <-tick.C:
			if last == "" {
				last = "linking" // all packages came from Go's cache
			}
			fmt.Fprintf(out, "  building %s: %s, %d packages, now %s\n", name, since(began), packages, last)
		}
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("gobuild: %s: %w\n%s", name, err, strings.Join(complaints[max(0, len(complaints)-20):], "\n"))
	}
	if !quiet {
		fmt.Fprintf(out, "  built    %s in %s\n", name, since(began))
	}
	return nil
}

// isPackage tells an import path from a message: it has no spaces and does
// not begin with the mark of a package's messages.
func isPackage(line string) bool {
	return line != "" && !strings.ContainsAny(line, " \t") && !strings.HasPrefix(line, "#")
}

func since(t time.Time) string { return time.Since(t).Round(100 * time.Millisecond).String() }

// Version reads the version that the go.mod file in the folder module
// requires of the module path.
func Version(module, path string) (string, error) {
	f, err := os.Open(filepath.Join(module, "go.mod"))
	if err != nil {
		return "", fmt.Errorf("gobuild: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		if fields := strings.Fields(strings.TrimPrefix(s.Text(), "require ")); len(fields) >= 2 && fields[0] == path {
			return fields[1], nil
		}
	}
	return "", errors.Join(s.Err(), fmt.Errorf("gobuild: %s does not require %s", f.Name(), path))
}
