package site

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// StartCloud starts cloudcore, with further arguments if there are any, unless
// it runs, and waits until it says that it is ready for nodes.
func (s *Site) StartCloud(ctx context.Context, more ...string) error {
	running, err := s.Running(ctx, "cloudcore")
	if err != nil {
		return err
	}
	if !running {
		free, err := devcluster.FreePorts(1)
		if err != nil {
			return fmt.Errorf("site: %w", err)
		}
		kubeconfig, err := s.account(ctx)
		if err != nil {
			return err
		}
		if _, err = s.Start(process.Spec{Name: "cloudcore", Path: s.Program("cloudcore"), Args: append([]string{
			"--kubeconfig", kubeconfig, "--listen", s.CloudAddress(), "--advertise", s.CloudAddress(),
			"--metrics-listen", "127.0.0.1:" + strconv.Itoa(free[0]),
		}, more...)}); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	monitor, err := s.CloudMonitor()
	if err != nil {
		return err
	}
	return s.WaitReady(ctx, "cloudcore", time.Minute, func(ctx context.Context) error {
		return healthy(ctx, "http://"+monitor+"/readyz")
	})
}

// account returns the kubeconfig of cloudcore's ServiceAccount: it never runs as an
// administrator. What that takes is applied the first time, by the commands of the
// README.
func (s *Site) account(ctx context.Context) (string, error) {
	file := filepath.Join(s.Dir(), "cloudcore.kubeconfig")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	manifest, err := s.Run(ctx, "edgectl", "manifest")
	if err != nil {
		return "", err
	}
	if err := s.Kube().Apply(ctx, manifest); err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	text, err := s.Run(ctx, "edgectl", "--kubeconfig", s.Kubeconfig(), "kubeconfig")
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	return file, nil
}

// CloudMonitor is the address of the metrics of the cloudcore that runs, also of
// one that ran before.
func (s *Site) CloudMonitor() (string, error) {
	r, err := s.Processes().Lookup("cloudcore")
	if err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	return r.Command[slices.Index(r.Command, "--metrics-listen")+1], nil
}

func healthy(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// StopCloud ends cloudcore.
func (s *Site) StopCloud(ctx context.Context) error {
	if err := s.Processes().Stop(ctx, "cloudcore", 10*time.Second); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

// Token makes a join token for one node.
func (s *Site) Token(ctx context.Context, node string) (string, error) {
	out, err := s.Run(ctx, "edgectl", "--kubeconfig", s.Kubeconfig(), "token", "create", "--node", node)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(out), nil
}

// Run runs one of edgekit's programs to its end on the host and returns its
// standard output. The error of a program that fails is a *ProgramError.
func (s *Site) Run(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, name, append([]string{s.Program(name)}, args...))
}

// RunOnNode runs one of edgekit's programs in the node's network.
func (s *Site) RunOnNode(ctx context.Context, name string, args ...string) (string, error) {
	return run(ctx, name, append([]string{"nsenter", "--net=" + s.Network().File, "--", s.Program(name)}, args...))
}

// ProgramError is how a program failed.
type ProgramError struct {
	Program string
	Code    int // its exit code, -1 if it was killed
	Stderr  string
}

func (e *ProgramError) Error() string {
	return fmt.Sprintf("site: %s failed with %d: %s", e.Program, e.Code, strings.TrimSpace(e.Stderr))
}

func run(ctx context.Context, name string, command []string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = os.Environ()
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return stdout.String(), &ProgramError{Program: name, Code: exit.ExitCode(), Stderr: stderr.String()}
	}
	if err != nil {
		return "", fmt.Errorf("site: %s: %w", name, err)
	}
	return stdout.String(), nil
}
