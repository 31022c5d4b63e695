package dist

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/edgekit/edgekit/cmd/release/packages"
	"github.com/edgekit/edgekit/cmd/release/programs"
)

// WriteNode builds only what a Debian machine needs to become a node and to be upgraded: the
// package of edgecore and the artefact for upgrades. It is no release: it has no images, archives,
// checksums or bundle, and takes a few minutes less.
func (r Release) WriteNode(ctx context.Context) error {
	work, dir, err := r.begin()
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	names := slices.DeleteFunc(programs.Names(), func(name string) bool { return name == "cloudcore" })
	for _, p := range r.Platforms {
		r.logf("programs for %s", p)
		b := programs.Build{Source: r.Source, Version: r.Version, Cache: r.Cache}
		if err := b.Programs(ctx, p, dir(p), names...); err != nil {
			return err
		}
		r.logf("package of edgecore for %s", p)
		if err := (packages.Build{Source: r.Source, Programs: dir(p), Platform: p, Version: r.Version, Time: r.Time}).WriteEdgecore(ctx, r.Out); err != nil {
			return err
		}
	}
	return r.artifact(ctx, dir)
}

// begin makes the folder of the files, and one for programs.
func (r Release) begin() (work string, dir func(programs.Platform) string, err error) {
	if left, err := os.ReadDir(r.Out); err == nil && len(left) > 0 {
		return "", nil, fmt.Errorf("dist: %s is not empty: remove it, or name another folder", r.Out)
	}
	if err := os.MkdirAll(r.Out, 0o755); err != nil {
		return "", nil, fmt.Errorf("dist: %w", err)
	}
	work, err = os.MkdirTemp("", "edgekit-programs-")
	if err != nil {
		return "", nil, fmt.Errorf("dist: %w", err)
	}
	return work, func(p programs.Platform) string { return filepath.Join(work, p.FileName()) }, nil
}
