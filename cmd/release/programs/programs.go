package programs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Platform is a kind of machine that programs are built for. The operating system is Linux.
type Platform struct {
	Arch    string // Go's name of the architecture, and of the image specification
	Variant string // the image specification's word: "v7" for arm, else empty
	Deb     string // the architecture's name in Debian packages
	RPM     string // and in RPM packages
	APK     string // and in Alpine packages
	env     []string
}

// String is the platform's form in an image index: linux/arm/v7.
func (p Platform) String() string {
	return strings.TrimSuffix("linux/"+p.Arch+"/"+p.Variant, "/")
}

// FileName is the platform's form in names of files: linux_armv7.
func (p Platform) FileName() string { return "linux_" + p.Arch + p.Variant }

// Platforms are all platforms of a release.
func Platforms() []Platform {
	return []Platform{
		{Arch: "amd64", Deb: "amd64", RPM: "x86_64", APK: "x86_64"},
		{Arch: "arm64", Deb: "arm64", RPM: "aarch64", APK: "aarch64"},
		{Arch: "arm", Variant: "v7", Deb: "armhf", RPM: "armv7hl", APK: "armv7", env: []string{"GOARM=7"}},
		{Arch: "riscv64", Deb: "riscv64", RPM: "riscv64", APK: "riscv64"},
	}
}

// Select returns the platforms of the named architectures, in the order of Platforms. No
// names are all of them.
func Select(archs []string) ([]Platform, error) {
	all := Platforms()
	if len(archs) == 0 {
		return all, nil
	}
	var known []string
	for _, p := range all {
		known = append(known, p.Arch)
	}
	for _, a := range archs {
		if !slices.Contains(known, a) {
			return nil, fmt.Errorf("programs: architecture %q is unknown: take some of %s", a, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(p Platform) bool { return !slices.Contains(archs, p.Arch) }), nil
}

// Names are the programs of a release.
func Names() []string { return []string{"cloudcore", "edgecore", "edgectl", edgepipe} }

// edgepipe is a module of its own: it links what no other program should.
const edgepipe = "edgepipe"

// versionVariable is what cmd/internal/program has for the version.
const versionVariable = "github.com/edgekit/edgekit/cmd/internal/program.version"

// Build is how programs are built.
type Build struct {
	Source  string // root folder of edgekit's source
	Version string // what the programs say: v1.2.3
	Cache   string // folder of Go's build cache; empty is the user's own
}

// Programs builds the named programs for the platform into the folder dir.
func (b Build) Programs(ctx context.Context, p Platform, dir string, names ...string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("programs: %w", err)
	}
	var packages []string
	for _, name := range names {
		if name == edgepipe {
			if err := b.build(ctx, p, dir, filepath.Join(b.Source, "cmd", edgepipe), "."); err != nil {
				return err
			}
			continue
		}
		packages = append(packages, "./cmd/"+name)
	}
	if len(packages) > 0 {
		if err := b.build(ctx, p, dir, b.Source, packages...); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil {
			return fmt.Errorf("programs: %w", err)
		}
	}
	return nil
}

// build builds packages of the module in the folder source.
func (b Build) build(ctx context.Context, p Platform, dir, source string, packages ...string) error {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-tags=grpcnotrace", "-ldflags=-s -w -buildid= -X " + versionVariable + "=" + b.Version, "-o", dir + "/"}
	if p.narrow() {
		modfile, err := Modfile(ctx, source)
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(filepath.Dir(modfile)) }() // a temporary folder
		args = append(args, "-modfile="+modfile)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, packages...)...)
	cmd.Dir = source
	// What the user has set for Go must not change the bytes.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+p.Arch, "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1", "GOARM64=v8.0", "GORISCV64=rva20u64")
	cmd.Env = append(cmd.Env, p.env...)
	if b.Cache != "" {
		cmd.Env = append(cmd.Env, "GOCACHE="+b.Cache)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("programs: %s: %w\n%s", p, err, out)
	}
	return nil
}

// Commit is where a source tree is in its history.
type Commit struct {
	ID   string    // hexadecimal; empty outside of a repository
	Tag  string    // v1.2.3 if the commit has such a tag
	Time time.Time // when it was made, UTC; 1980-01-01 outside of a repository
	// Changed reports whether files differ from the commit.
	Changed bool
}

// ReadCommit looks at the repository in the folder. SOURCE_DATE_EPOCH in the environment
// replaces the commit's time.
func ReadCommit(ctx context.Context, dir string) (Commit, error) {
	c := Commit{Time: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)}
	if id, err := git(ctx, dir, "rev-parse", "HEAD"); err == nil {
		c.ID = id
		seconds, err := git(ctx, dir, "show", "-s", "--format=%ct", "HEAD")
		if err != nil {
			return Commit{}, err
		}
		if c.Time, err = unix(seconds); err != nil {
			return Commit{}, err
		}
		changed, err := git(ctx, dir, "status", "--porcelain")
		if err != nil {
			return Commit{}, err
		}
		c.Changed = changed != ""
		tags, err := git(ctx, dir, "tag", "--points-at", "HEAD", "--sort=-version:refname", "v[0-9]*")
		if err != nil {
			return Commit{}, err
		}
		c.Tag, _, _ = strings.Cut(tags, "\n")
	}
	if epoch, ok := os.LookupEnv("SOURCE_DATE_EPOCH"); ok {
		var err error
		if c.Time, err = unix(epoch); err != nil {
			return Commit{}, fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
		}
	}
	return c, nil
}

func unix(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(seconds), 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("programs: %q is no number of seconds since 1970", seconds)
	}
	return time.Unix(n, 0).UTC(), nil
}

// Version is the version of an unnamed build: the tag, or Go's pseudo-version of the
// commit, with +dirty if files have changed.
func (c Commit) Version() string {
	v := c.Tag
	switch {
	case c.ID == "":
		return "v0.0.0-devel"
	case v == "":
		v = "v0.0.0-" + c.Time.Format("20060102150405") + "-" + c.ID[:12]
	}
	if c.Changed {
		v += "+dirty"
	}
	return v
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("programs: git %s: %w: %s", args[0], err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("programs: git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Files lists the files of the source tree in the folder that are, or could be, in its repository.
func Files(ctx context.Context, dir string) ([]string, error) {
	out, err := git(ctx, dir, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range strings.SplitSeq(strings.Trim(out, "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil && name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}
