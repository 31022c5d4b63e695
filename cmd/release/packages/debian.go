package packages

import (
	"context"
	"fmt"
	"os"
)

// WriteEdgecore writes the Debian package of edgecore alone, for a machine that is set up from the
// source itself.
func (b Build) WriteEdgecore(ctx context.Context, out string) error {
	v, err := parseVersion(b.Version)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "edgekit-packages-")
	if err != nil {
		return fmt.Errorf("packages: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	if err := unpack(work, b.Time); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	info := b.edgecore(work)
	b.common(info, "deb", v)
	if err := write(info, "deb", out); err != nil {
		return fmt.Errorf("packages: %s.deb: %w", info.Name, err)
	}
	return nil
}
