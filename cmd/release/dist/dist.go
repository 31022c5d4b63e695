package dist

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/cmd/release/oci"
	"github.com/edgekit/edgekit/cmd/release/packages"
	"github.com/edgekit/edgekit/cmd/release/programs"
	"github.com/edgekit/edgekit/cmd/release/sign"
)

// Release is what Write makes. Source, Version and Out are required.
type Release struct {
	Source     string // root folder of edgekit's source
	Out        string // folder of the files; it must be empty or absent
	Version    string // v1.2.3
	Platforms  []programs.Platform
	Revision   string       // the commit; may be empty
	Time       time.Time    // of all files
	Repository string       // where the images are to be, without their names: edgekit
	Signer     *sign.Signer // nil: no signatures
	Extra      []string     // files that are copied into the release, such as an archive of other images
	Cache      string       // folder of Go's build cache; empty is the user's own
	Log        io.Writer    // what is done; nil discards
}

// Names of files of a release.
const (
	sumsFile      = "SHA256SUMS"
	signatureFile = "SHA256SUMS.sig"
	keyFile       = "edgekit.pub"
)

// Write builds and writes all files. A folder that it could not fill is left as it is.
func (r Release) Write(ctx context.Context) error {
	work, dir, err := r.begin()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	for _, p := range r.Platforms {
		if err := r.platform(ctx, p, dir(p)); err != nil {
			return err
		}
	}
	if err := r.images(dir); err != nil {
		return err
	}
	if err := r.artifact(ctx, dir); err != nil {
		return err
	}
	if err := r.chart(ctx); err != nil {
		return err
	}
	for _, file := range r.Extra {
		if err := copyFile(file, filepath.Join(r.Out, filepath.Base(file))); err != nil {
			return err
		}
	}
	if err := r.sums(); err != nil {
		return err
	}
	return r.bundle()
}

func (r Release) logf(format string, args ...any) {
	if r.Log != nil {
		fmt.Fprintf(r.Log, format+"\n", args...)
	}
}

// path is a file of the release.
func (r Release) path(name string) string { return filepath.Join(r.Out, name) }

// platform builds the programs for one platform and packs them.
func (r Release) platform(ctx context.Context, p programs.Platform, dir string) error {
	r.logf("programs for %s", p)
	b := programs.Build{Source: r.Source, Version: r.Version, Cache: r.Cache}
	if err := b.Programs(ctx, p, dir, programs.Names()...); err != nil {
		return err
	}
	r.logf("packages, archive and SBOMs for %s", p)
	if err := (packages.Build{Source: r.Source, Programs: dir, Platform: p, Version: r.Version, Time: r.Time}).Write(ctx, r.Out); err != nil {
		return err
	}
	if err := r.archive(p, dir); err != nil {
		return err
	}
	for _, name := range programs.Names() {
		if err := r.sbom(p, dir, name); err != nil {
			return err
		}
	}
	return nil
}

func (r Release) images(dir func(programs.Platform) string) error {
	r.logf("images")
	image := func(program, description string, ports ...string) oci.Image {
		return oci.Image{
			Repository: r.Repository + "/" + program, Version: r.Version, Program: program, Description: description,
			Revision: r.Revision, Time: r.Time, Ports: ports, Programs: dir,
		}
	}
	return oci.WriteImages(r.path("edgekit-images_"+r.Version+".tar"), r.Platforms,
		image("cloudcore", "edgekit's cloud side", "10000/tcp", "10000/udp"),
		image("edgectl", "the tool of the operator of edge nodes"))
}

func (r Release) artifact(ctx context.Context, dir func(programs.Platform) string) error {
	r.logf("artefact for upgrades")
	config, err := readConfig(r.Source)
	if err != nil {
		return err
	}
	config.Version = r.Version
	a := oci.Artifact{Config: config, Revision: r.Revision, Time: r.Time, Programs: dir}
	if r.Signer != nil {
		a.Sign = func(ctx context.Context, dir string, index ocispec.Descriptor) error {
			return r.Signer.Layout(ctx, dir, index)
		}
	}
	digest, err := oci.WriteArtifact(ctx, r.path("edgekit-node_"+r.Version+".tar"), r.Platforms, a)
	if err == nil {
		r.logf("  %s", digest)
	}
	return err
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	_, err = io.Copy(out, in)
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("dist: %w", err)
	}
	return nil
}
