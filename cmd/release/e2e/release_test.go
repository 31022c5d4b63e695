package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/release/dist"
	"github.com/edgekit/edgekit/cmd/release/programs"
	"github.com/edgekit/edgekit/cmd/release/sign"
)

const version = "v9.8.7-rc.1"

// newRelease is one of the architectures in RELEASE_ARCHS, amd64 by default.
func newRelease(t *testing.T) dist.Release {
	t.Helper()
	archs := os.Getenv("RELEASE_ARCHS")
	if archs == "" {
		archs = "amd64"
	}
	platforms, err := programs.Select(strings.Split(archs, ","))
	if err != nil {
		t.Fatal(err)
	}
	source, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	commit, err := programs.ReadCommit(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	return dist.Release{Source: source, Version: version, Platforms: platforms, Revision: commit.ID, Time: commit.Time, Repository: "docker.io/edgekit", Log: t.Output()}
}

// TestRelease: the commands of the README work on a release that was built twice, in two folders,
// with the same bytes.
func TestRelease(t *testing.T) {
	r, began := newRelease(t), time.Now()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := sign.WriteKey(keys, "edgekit", time.Now()); err != nil {
		t.Fatal(err)
	}
	signer, err := sign.Load(filepath.Join(keys, "key.pem"), "")
	if err != nil {
		t.Fatal(err)
	}
	r.Signer = signer
	files, err := r.Check(t.Context(), t.TempDir(), os.Getenv("RELEASE_FRESH") != "", func(out string) error {
		return readme(t, r, out)
	})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("RESULT release_same_files %d files\nRESULT release_check_time %.0f s\n", files, time.Since(began).Seconds())
}

// readme runs the commands of the README in the folder of a release.
func readme(t *testing.T, r dist.Release, out string) error {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		return err
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 4 {
		return fmt.Errorf("%d blocks of commands in the README", len(blocks))
	}
	tool := filepath.Join(t.TempDir(), "release")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-o", tool, "..").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	for _, b := range blocks {
		if r.Platforms[0].Arch != "amd64" && strings.Contains(b[1], "amd64") {
			continue
		}
		sh := exec.CommandContext(t.Context(), "sh", "-exc", b[1])
		sh.Dir = out
		sh.Env = append(os.Environ(), "PATH="+filepath.Dir(tool)+":"+os.Getenv("PATH"))
		text, err := sh.CombinedOutput()
		if err != nil {
			return fmt.Errorf("README: %w\n%s", err, text)
		}
		for _, want := range []string{"edgectl", "edgecore"} {
			if strings.Contains(b[1], want+" --version") && !strings.Contains(string(text), want+" "+version+" ") {
				return fmt.Errorf("README: %s does not say its version:\n%s", want, text)
			}
		}
	}
	return os.RemoveAll(filepath.Join(out, "release-key"))
}
