package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/demo/kubectl"
)

// Config sets up a Site. Every field may be left empty.
type Config struct {
	Dir        string    // the cluster's folder; empty is that of the command cluster
	Kubeconfig string    // a cluster to use instead of our own; see devcluster
	Repo       string    // the edgekit repository; empty looks upwards from the working directory
	Out        io.Writer // gets a line about each thing that happens; nil discards
}

// Site is one cloud with one edge machine.
type Site struct {
	*devcluster.Cluster
	repo string
	out  io.Writer
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Site, error) {
	if cfg.Out == nil {
		cfg.Out = io.Discard
	}
	if cfg.Repo == "" {
		var err error
		if cfg.Repo, err = findRepo(); err != nil {
			return nil, err
		}
	}
	c, err := devcluster.New(devcluster.Config{Dir: cfg.Dir, Kubeconfig: cfg.Kubeconfig, Out: cfg.Out,
		Source: filepath.Join(cfg.Repo, "cmd", "cluster")})
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	return &Site{Cluster: c, repo: cfg.Repo, out: cfg.Out}, nil
}

// InCache makes the Site that lives in a folder of that name in edgekit's part of
// the user's cache, for programs that have a scene of their own.
func InCache(name string, out io.Writer) (*Site, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	return New(Config{Dir: filepath.Join(cache, "edgekit", name), Out: out})
}

// findRepo looks for the repository's root upwards from the working directory.
func findRepo() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "cmd", "edgecore")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("site: cmd/edgecore was not found above the working directory: run from the edgekit repository")
		}
		dir = filepath.Dir(dir)
	}
}

// programs are built from the repository.
var programs = []string{"cmd/cloudcore", "cmd/edgecore", "cmd/edgectl", "examples/thermometer"}

// Build builds edgekit's programs, stripped and static.
func (s *Site) Build(ctx context.Context) error {
	for _, p := range programs {
		t := gobuild.Target{Module: s.repo, Package: "./" + p, Output: s.Program(filepath.Base(p)), Always: true}
		if err := gobuild.Build(ctx, s.out, t); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	// edgepipe is a module of its own; edgecore finds it beside itself.
	t := gobuild.Target{Module: filepath.Join(s.repo, "cmd/edgepipe"), Package: ".", Output: s.Program("edgepipe"), Always: true}
	if err := gobuild.Build(ctx, s.out, t); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

// Running reports whether the program runs. One that runs from a file that
// Build has since replaced is stopped first.
func (s *Site) Running(ctx context.Context, name string) (bool, error) {
	r, err := s.Processes().Lookup(name)
	if err != nil || !r.Alive() {
		return false, nil // never started, or gone: the same to the caller
	}
	if !r.Outdated() {
		return true, nil
	}
	if err := s.Processes().Stop(ctx, name, 20*time.Second); err != nil {
		return false, fmt.Errorf("site: %w", err)
	}
	return false, nil
}

// Repo is the folder of the edgekit repository.
func (s *Site) Repo() string { return s.repo }

// Program is the file of one of edgekit's programs. It exists after Build.
func (s *Site) Program(name string) string { return filepath.Join(s.Dir(), "bin", name) }

// Kube runs kubectl on the cluster.
func (s *Site) Kube() kubectl.Client {
	return kubectl.Client{Path: s.Kubectl(), Kubeconfig: s.Kubeconfig()}
}

// CloudAddress is where edges reach cloudcore: the host's end of the node's
// cable.
func (s *Site) CloudAddress() string {
	return net.JoinHostPort(s.Network().Host().String(), "10000")
}

// DataDir is the data folder of the edge node.
func (s *Site) DataDir(node string) string { return filepath.Join(s.Dir(), "nodes", node) }

// Remove takes everything down. In a cluster that is not ours it first deletes
// the objects given as kubectl names them ("node", "edge-1"), while the node's
// agent is still there to end its pods.
func (s *Site) Remove(ctx context.Context, objects ...[]string) error {
	if s.External() && s.Attach() == nil {
		for _, o := range objects {
			if _, err := s.Kube().Run(ctx, "", append([]string{"delete", "--ignore-not-found", "--timeout=60s"}, o...)...); err != nil {
				return fmt.Errorf("site: %w", err)
			}
		}
	}
	if _, err := s.Down(ctx); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}
