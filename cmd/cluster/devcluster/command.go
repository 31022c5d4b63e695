package devcluster

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/cluster/image"
)

// TestImage is a small root with a shell and all that busybox can do: the image of
// edged's own tests.
const TestImage = "docker.io/library/busybox:latest"

// RunCommand starts a container runtime for one command, and removes it with all that
// the command left. The command runs in the node's network. These variables say where
// the runtime is:
//
//	EDGEKIT_CRI_SOCKET         the socket of the runtime, which has TestImage
//	EDGEKIT_CRI_CGROUP_DRIVER  how the runtime makes cgroups
//	EDGEKIT_CRI_CGROUP_ROOT    the cgroup below which pods may be
//
// The Cluster must be one with Config.RuntimeOnly and a Dir that no other cluster has.
// Commands for the same Dir run one after the other.
func (c *Cluster) RunCommand(ctx context.Context, name string, args ...string) (err error) {
	if err := requireRoot(); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.cfg.Dir), 0o700); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	unlock, err := lockFile(c.cfg.Dir + ".command")
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := c.Down(ctx); err != nil { // what a killed run left
		return err
	}
	defer func() {
		_, downErr := c.Down(context.WithoutCancel(ctx))
		err = errors.Join(err, downErr)
	}()
	if _, err := c.Up(ctx); err != nil {
		return err
	}
	if err := c.importBusybox(ctx); err != nil {
		return err
	}
	cmd := c.Network().Command(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = grace
	cmd.Env = append(os.Environ(), "EDGEKIT_CRI_SOCKET="+c.containerdSocket(), "EDGEKIT_CRI_CGROUP_DRIVER=cgroupfs", "EDGEKIT_CRI_CGROUP_ROOT="+c.CgroupRoot())
	if err := cmd.Run(); err != nil {
		return c.withLog("containerd", fmt.Errorf("devcluster: %s: %w", filepath.Base(name), err))
	}
	return nil
}

// importBusybox makes TestImage of Debian's busybox and imports it.
func (c *Cluster) importBusybox(ctx context.Context) error {
	if err := c.Install(ctx, Busybox()); err != nil {
		return err
	}
	files, err := BusyboxFiles(ctx, c.cfg.Dir)
	if err != nil {
		return err
	}
	archive := c.path("busybox.tar")
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	err = image.Write(f, image.Image{Refs: []string{TestImage}, Cmd: []string{"sh"}, Files: files})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return c.importArchive(ctx, archive)
}

// busybox is where Debian's static busybox is.
const busybox = "/bin/busybox"

// Busybox is the package of a busybox that runs in an empty image.
func Busybox() Package {
	return Package{Name: "busybox-static", Present: func() bool {
		f, err := elf.Open(busybox)
		if err != nil {
			return false
		}
		defer f.Close()
		return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
	}}
}

// BusyboxFiles are a small root with all that busybox can do. It writes files into a
// folder that must stay until the image is made.
func BusyboxFiles(ctx context.Context, dir string) ([]image.File, error) {
	files := []image.File{{Path: busybox, Source: busybox}}
	out, err := exec.CommandContext(ctx, busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("devcluster: %s --list: %w", busybox, err)
	}
	for applet := range strings.FieldsSeq(string(out)) {
		if applet != "busybox" {
			files = append(files, image.File{Path: "/bin/" + applet, Link: "busybox"})
		}
	}
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
		"group":  "root:x:0:\nnogroup:x:65534:\n",
	} {
		source := filepath.Join(dir, name)
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return nil, fmt.Errorf("devcluster: %w", err)
		}
		files = append(files, image.File{Path: "/etc/" + name, Source: source, Mode: 0o644})
	}
	return files, nil
}
