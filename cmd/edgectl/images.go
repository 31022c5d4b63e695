package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/edged/cri"
	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/runtime"
)

// imagesCmd is for sites without a registry.
type imagesCmd struct {
	List imagesListCmd `cmd:"" help:"List the images of this machine's container runtime, and which of them the node needs."`
	Pull imagesPullCmd `cmd:"" help:"Pull images into this machine's container runtime."`
	Save imagesSaveCmd `cmd:"" help:"Write images of this machine's container runtime to an archive, for a machine without a network."`
	Load imagesLoadCmd `cmd:"" help:"Import the images of an archive into this machine's container runtime."`
}

// imageRuntime is the part of a container runtime that images need.
type imageRuntime interface {
	Version(ctx context.Context) (runtime.Version, error)
	ListImages(ctx context.Context) ([]runtime.Image, error)
	ImageStatus(ctx context.Context, ref string) (runtime.Image, bool, error)
	PullImage(ctx context.Context, ref string, auth *runtime.ImageAuth, sandbox *runtime.SandboxConfig) (string, error)
	SandboxImage(ctx context.Context) (string, error)
	Close() error
}

// imageFlags name the container runtime of this machine.
type imageFlags struct {
	machineFlags
	RuntimeEndpoint string `help:"Socket of the container runtime. Default: edgecore's setting, or containerd's." placeholder:"URL"`

	open    func(endpoint string) (imageRuntime, error)        // nil opens a CRI socket
	replace func(program string, args, environ []string) error // nil is syscall.Exec
}

// runtime opens the container runtime, and returns its socket too. Both the socket and the data
// folder are those of edgecore's configuration, unless flags name others.
func (f *imageFlags) runtime() (imageRuntime, string, error) {
	endpoint := f.RuntimeEndpoint
	file, err := f.load()
	switch {
	case endpoint != "": // it needs no file
	case err != nil:
		return nil, "", err
	default:
		endpoint = strings.Join(file.Values("runtime-endpoint"), "")
	}
	if endpoint == "" {
		endpoint = cri.DefaultSocket
	}
	if f.open != nil {
		rt, err := f.open(endpoint)
		return rt, endpoint, err
	}
	rt, err := cri.New(cri.Config{Socket: endpoint})
	return rt, endpoint, err
}

// imageUse is an image that the node has or needs.
type imageUse struct {
	Name   string   `json:"name"` // a tag, or a digest where there is none
	ID     string   `json:"id,omitempty"`
	Size   uint64   `json:"size,omitempty"` // bytes; 0 if it is missing
	Have   bool     `json:"have"`           // whether the runtime has it
	UsedBy []string `json:"usedBy,omitempty"`
}

type imagesListCmd struct {
	printer.Flags
	imageFlags
	Cloud  bool `help:"List the images that edgekit's cloud part needs instead."`
	Needed bool `help:"Only those that the node needs: of sandboxes and of its pods."`
}

// Help has examples.
func (imagesListCmd) Help() string {
	return `Examples:
  edgectl images list                  the runtime's images, and who uses them
  edgectl images list --needed -o name what to save for another machine of this kind
  edgectl images list --cloud          what the cluster needs`
}

// Run prints the images.
func (c *imagesListCmd) Run(ctx context.Context, out program.Output) error {
	if c.Cloud {
		name := install.DefaultRepository + ":" + program.Version()
		return c.print(out, []imageUse{{Name: name, UsedBy: []string{"cloudcore"}}})
	}
	rt, _, err := c.runtime()
	if err != nil {
		return err
	}
	defer rt.Close()
	have, err := rt.ListImages(ctx)
	if err != nil {
		return err
	}
	used, err := c.used(ctx, rt)
	if err != nil {
		fmt.Fprintf(os.Stderr, "edgectl: warning: %v: which images pods use is not known\n", err)
	}
	return c.print(out, mergeImages(have, used, c.Needed))
}

// used returns who uses which image: the runtime for sandboxes, and the pods of the node. The error is
// about the pods.
func (c *imagesListCmd) used(ctx context.Context, rt imageRuntime) (map[string][]string, error) {
	used := map[string][]string{}
	if pause, err := rt.SandboxImage(ctx); err == nil && pause != "" { // else the runtime does not say
		used[familiar(pause)] = []string{"sandboxes"}
	}
	local := localFlags{DataDir: c.DataDir}
	var pods corev1.PodList
	if err := local.read(ctx, "api.sock", "/api/v1/pods", "application/json", &pods); err != nil {
		return used, err
	}
	for _, p := range pods.Items {
		for _, container := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
			name, user := familiar(container.Image), "pod "+p.Namespace+"/"+p.Name
			if !slices.Contains(used[name], user) {
				used[name] = append(used[name], user)
			}
		}
	}
	return used, nil
}

// mergeImages lists what the runtime has and what is used, by name.
func mergeImages(have []runtime.Image, used map[string][]string, needed bool) []imageUse {
	byName := map[string]imageUse{}
	for _, img := range have {
		names := img.Tags
		if len(names) == 0 {
			names = img.Digests[:min(1, len(img.Digests))]
		}
		for _, name := range names {
			byName[name] = imageUse{Name: name, ID: img.ID, Size: img.Size, Have: true, UsedBy: used[familiar(name)]}
		}
		for _, name := range img.Digests { // a pod may name the digest
			if by := used[familiar(name)]; len(by) > 0 {
				byName[name] = imageUse{Name: name, ID: img.ID, Size: img.Size, Have: true, UsedBy: by}
			}
		}
	}
	known := map[string]bool{}
	for name := range byName {
		known[familiar(name)] = true
	}
	for name, by := range used {
		if !known[name] {
			byName[name] = imageUse{Name: name, UsedBy: by}
		}
	}
	var all []imageUse
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if u := byName[name]; !needed || len(u.UsedBy) > 0 {
			all = append(all, u)
		}
	}
	return all
}

// familiar is the full name of an image, or the name itself if it is none.
func familiar(name string) string {
	ref, err := image.Parse(name)
	if err != nil {
		return name
	}
	return ref.String()
}

func (c *imagesListCmd) print(out io.Writer, all []imageUse) error {
	t := printer.Table{Columns: []printer.Column{{Name: "IMAGE"}, {Name: "SIZE"}, {Name: "USED BY"}, {Name: "ID", Wide: true}}}
	for _, u := range all {
		size := "-"
		switch {
		case u.Have:
			size = fmt.Sprintf("%.1f MiB", float64(u.Size)/(1<<20))
		case !c.Cloud:
			size = "missing"
		}
		row := printer.Row{Name: u.Name, Cells: []any{u.Name, size, strings.Join(u.UsedBy, ", "), u.ID}}
		if size == "missing" {
			row.Level = printer.LevelWarning
		}
		t.Rows = append(t.Rows, row)
	}
	return c.Print(out, t, printer.NewList("ImageList", all))
}

type imagesPullCmd struct {
	imageFlags
	Images []string `arg:"" name:"image" help:"Names of images."`
}

// Help has examples.
func (imagesPullCmd) Help() string {
	return `The registry must need no credentials, or the runtime must have them.

  edgectl images pull docker.io/library/nginx:1.29`
}

// Run pulls the images, one after the other.
func (c *imagesPullCmd) Run(ctx context.Context, out program.Output) error {
	rt, _, err := c.runtime()
	if err != nil {
		return err
	}
	defer rt.Close()
	return pullImages(ctx, rt, out, c.Images, true)
}

// pullImages pulls images; without again only those that are missing. It goes on after a failure.
func pullImages(ctx context.Context, rt imageRuntime, out io.Writer, images []string, again bool) error {
	var failed []error
	for _, name := range images {
		if _, err := image.Parse(name); err != nil {
			failed = append(failed, &program.UsageError{Setting: "image", Reason: fmt.Sprintf("%q is no name of an image: %v", name, err)})
			continue
		}
		full := familiar(name)
		if !again {
			if _, ok, err := rt.ImageStatus(ctx, full); err == nil && ok {
				continue
			}
		}
		if _, err := rt.PullImage(ctx, full, nil, nil); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", full, err))
			continue
		}
		fmt.Fprintln(out, full, "pulled")
	}
	return errors.Join(failed...)
}

type imagesSaveCmd struct {
	imageFlags
	File   string   `name:"output" help:"The archive to write, an OCI image layout." short:"o" required:"" placeholder:"FILE"`
	Images []string `arg:"" name:"image" help:"Names of images; those that are missing are pulled first."`
}

// Help has examples.
func (imagesSaveCmd) Help() string {
	return `CRI has no call for this: containerd's own program ctr writes the archive.

  edgectl images save --output pause.tar registry.k8s.io/pause:3.10
  edgectl images list --needed -o name | xargs edgectl images save -o site.tar`
}

// Run writes the archive.
func (c *imagesSaveCmd) Run(ctx context.Context, out program.Output) error {
	if _, err := os.Lstat(c.File); err == nil {
		return &program.UsageError{Setting: "output", Reason: c.File + " is there already: remove it, or name another"}
	}
	rt, endpoint, err := c.runtime()
	if err != nil {
		return err
	}
	defer rt.Close()
	if err := containerdOnly(ctx, rt, "skopeo copy containers-storage:IMAGE oci-archive:"+c.File); err != nil {
		return err
	}
	if err := pullImages(ctx, rt, out, c.Images, false); err != nil {
		return err
	}
	file, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	args := []string{"export", file} // the names were parsed: none is an option
	for _, name := range c.Images {
		args = append(args, familiar(name))
	}
	return c.ctr(endpoint, args...)
}

type imagesLoadCmd struct {
	imageFlags
	File string `arg:"" help:"An archive with images: an OCI image layout or docker save's, as a tar." type:"existingfile"`
}

// Help has examples.
func (imagesLoadCmd) Help() string {
	return `CRI has no call for this: containerd's own program ctr imports the archive. Only the images
for this machine's architecture are imported.

  edgectl images load edgekit-images_v0.1.0.tar`
}

// Run imports the archive.
func (c *imagesLoadCmd) Run(ctx context.Context, _ program.Output) error {
	rt, endpoint, err := c.runtime()
	if err != nil {
		return err
	}
	defer rt.Close()
	if err := containerdOnly(ctx, rt, "skopeo copy oci-archive:"+c.File+" containers-storage:IMAGE"); err != nil {
		return err
	}
	file, err := filepath.Abs(c.File)
	if err != nil {
		return err
	}
	return c.ctr(endpoint, "import", file)
}

// containerdOnly refuses other runtimes with what to do there.
func containerdOnly(ctx context.Context, rt imageRuntime, remedy string) error {
	v, err := rt.Version(ctx)
	if err != nil {
		return err
	}
	if v.Name != "containerd" {
		return fmt.Errorf("the container runtime is %s, and only containerd's own program is known: use %q", v.Name, remedy)
	}
	return nil
}

// ctr has containerd's program take the place of this one, for the images of Kubernetes.
func (f *imageFlags) ctr(endpoint string, args ...string) error {
	path, err := programPath("ctr")
	if err != nil {
		return errors.New("containerd's program ctr is not in PATH: it comes with containerd (Debian: apt-get install containerd)")
	}
	replace := f.replace
	if replace == nil {
		replace = syscall.Exec //nolint:gosec // containerd's own program, with names that were parsed
	}
	socket := strings.TrimPrefix(endpoint, "unix://")
	all := append([]string{"ctr", "--address", socket, "--namespace", "k8s.io", "images"}, args...)
	if err := replace(path, all, os.Environ()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
