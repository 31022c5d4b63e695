package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

// artifactFile is the name of an upgrade artefact in a release's folder.
func artifactFile(version string) string { return "edgekit-node_" + version + ".tar" }

// releases builds both versions, signed with a key of this run, and puts the package of the old
// one into the kit.
func (w *workshop) releases(ctx context.Context, kit string) error {
	key := filepath.Join(w.dir, "signing")
	if err := w.release(ctx, "key", key); err != nil {
		return err
	}
	for _, version := range []string{oldVersion, newVersion} {
		began := time.Now()
		if err := w.release(ctx, "build", "--node", "--source="+w.site.Repo(), "--version="+version, "--archs="+w.opts.Arch,
			"--out="+filepath.Join(w.releaseDir(), version), "--key="+filepath.Join(key, "key.pem")); err != nil {
			return err
		}
		fmt.Printf("  release %s: %v\n", version, time.Since(began).Round(time.Second))
	}
	packages, err := filepath.Glob(filepath.Join(w.releaseDir(), oldVersion, "edgekit-edgecore_*.deb"))
	if err != nil || len(packages) != 1 {
		return fmt.Errorf("%d packages edgekit-edgecore in %s, want 1", len(packages), filepath.Join(w.releaseDir(), oldVersion))
	}
	for _, file := range []string{packages[0], filepath.Join(key, "trust", "edgekit.pub")} {
		if _, err := command(ctx, "cp", file, kit); err != nil {
			return err
		}
	}
	return nil
}

func (w *workshop) releaseDir() string { return filepath.Join(w.dir, "releases") }

func (w *workshop) release(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"run", "."}, args...)...)
	cmd.Dir = filepath.Join(w.site.Repo(), "cmd", "release")
	cmd.WaitDelay = time.Second // go run ends before the program that it runs
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("release %s: %w: %s", args[0], err, end(string(out), 600))
	}
	return nil
}

// serveReleases serves the releases to the machine, which reaches the host's loopback. It is
// closed at the end of the run.
func (w *workshop) serveReleases() (port int, closed func() error, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, nil, err
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(w.releaseDir())), ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		_ = server.Serve(listener) // it says that it is closed
		close(done)
	}()
	return listener.Addr().(*net.TCPAddr).Port, func() error {
		err := server.Close()
		<-done
		return err
	}, nil
}

// upgradeHost is where the machine gets releases from.
func (l *leg) upgradeHost() string { return net.JoinHostPort(hostIP, strconv.Itoa(l.releasePort)) }
