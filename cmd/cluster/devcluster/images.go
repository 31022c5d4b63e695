package devcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/cmd/cluster/gobuild"
	"github.com/edgekit/edgekit/cmd/cluster/image"
)

// WebImage is a small web server: see images/web.
const WebImage = "edgekit.local/web:1"

// ToolsImage is a pod to look into with kubectl: see images/tools.
const ToolsImage = "edgekit.local/tools:1"

// own are the images made of programs in this module. names are further paths
// by which the program is found in the image.
var own = []struct {
	ref, pkg string
	names    []string
}{
	{PauseImage, "./images/pause", nil},
	{WebImage, "./images/web", nil},
	{ToolsImage, "./images/tools", []string{"/bin/tar", "/bin/test", "/bin/volume"}},
}

// Images builds the images of this module and imports those that containerd
// does not have in just this form.
func (c *Cluster) Images(ctx context.Context) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.Attach(); err != nil {
		return err
	}
	return c.images(ctx)
}

func (c *Cluster) images(ctx context.Context) error {
	source, err := c.source()
	if err != nil {
		return err
	}
	for _, o := range own {
		program := c.ImageProgram(filepath.Base(o.pkg))
		if err := gobuild.Build(ctx, c.cfg.Out, gobuild.Target{Module: source, Package: o.pkg, Output: program, Always: true}); err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
		if err := c.importProgram(ctx, o.ref, program, o.names...); err != nil {
			return err
		}
	}
	return nil
}

// ImageProgram is the file of the program in the image edgekit.local/NAME:1, once
// that was made.
func (c *Cluster) ImageProgram(name string) string {
	return filepath.Join(c.cfg.Cache, "bin", "images", name)
}

// ImportProgram makes an image of one static program and imports it, unless
// containerd has it in just this form.
func (c *Cluster) ImportProgram(ctx context.Context, ref, program string) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.Attach(); err != nil {
		return err
	}
	return c.importProgram(ctx, ref, program)
}

func (c *Cluster) importProgram(ctx context.Context, ref, program string, names ...string) error {
	var archive bytes.Buffer
	inside := "/" + filepath.Base(program)
	img := image.Image{Refs: []string{ref}, Entrypoint: []string{inside}, Files: []image.File{{Path: inside, Source: program}}}
	for _, name := range names {
		img.Files = append(img.Files, image.File{Path: name, Source: program})
	}
	if err := image.Write(&archive, img); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	sum := sha256.Sum256(archive.Bytes())
	digest := hex.EncodeToString(sum[:])
	have, err := c.imageNames(ctx)
	if err != nil {
		return err
	}
	if c.state.Images[ref] == digest && slices.Contains(have, ref) {
		return nil
	}
	file := c.path("image.tar")
	defer func() { _ = os.Remove(file) }() // the cluster's folder goes one day anyway
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := c.importArchive(ctx, file); err != nil {
		return err
	}
	c.printf("  image %s imported (%.1f MiB)", ref, float64(archive.Len())/(1<<20))
	c.state.Images[ref] = digest
	return c.save()
}

// Import imports image archives: docker-archive or OCI layout, as tar.
func (c *Cluster) Import(ctx context.Context, archives ...string) error {
	if err := c.Attach(); err != nil {
		return err
	}
	for _, a := range archives {
		if err := c.importArchive(ctx, a); err != nil {
			return err
		}
		c.printf("  imported %s", a)
	}
	return nil
}

// ImageNames lists the images that the node has.
func (c *Cluster) ImageNames(ctx context.Context) ([]string, error) {
	if err := c.Attach(); err != nil {
		return nil, err
	}
	return c.imageNames(ctx)
}

func (c *Cluster) importArchive(ctx context.Context, file string) error {
	return c.ctr(ctx, "images", "import", "--snapshotter", snapshotter(c.cfg.Dir), file)
}

func (c *Cluster) imageNames(ctx context.Context) ([]string, error) {
	out, err := c.ctrCommand(ctx, "images", "list", "-q").Output()
	if err != nil {
		return nil, fmt.Errorf("devcluster: list images: %w", err)
	}
	return strings.Fields(string(out)), nil
}

// ctr runs containerd's own client.
func (c *Cluster) ctr(ctx context.Context, args ...string) error {
	if out, err := c.ctrCommand(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("devcluster: ctr %s: %w: %s", strings.Join(args, " "), err, lastPart(string(out)))
	}
	return nil
}

func (c *Cluster) ctrCommand(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, c.Built("ctr"), append([]string{"--address", c.containerdSocket(), "--namespace", "k8s.io"}, args...)...)
}

// RunningContainers lists the ids of the containers whose program runs, as
// containerd tells it, among them the pods' sandboxes.
func (c *Cluster) RunningContainers(ctx context.Context) ([]string, error) {
	tasks, err := c.RunningTasks(ctx)
	return slices.Collect(maps.Keys(tasks)), err
}

// RunningTasks returns the process id of each container whose program runs.
func (c *Cluster) RunningTasks(ctx context.Context) (map[string]int, error) {
	out, err := c.ctrCommand(ctx, "tasks", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("devcluster: list tasks: %w", err)
	}
	tasks := make(map[string]int)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "RUNNING" {
			continue
		}
		pid, err := strconv.Atoi(f[1])
		if err != nil {
			return nil, fmt.Errorf("devcluster: list tasks: %q: %w", line, err)
		}
		tasks[f[0]] = pid
	}
	return tasks, nil
}
