package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
)

const (
	// expands is how much larger programs are than their layer, at most: Go programs are 3 times
	// as large.
	expands = 4
	// reserve is what an upgrade leaves free for the node's store.
	reserve = 16 << 20
)

// DiskError says that the disk has too little room for an upgrade.
type DiskError struct {
	Dir        string
	Need, Free int64 // bytes
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("upgrade: the disk of %s has %d MiB free and the upgrade needs %d MiB: make room there", e.Dir, e.Free>>20, (e.Need+1<<20-1)>>20)
}

// room refuses to write need bytes where they do not fit.
func (c *Client) room(dir string, need int64) error {
	free, err := c.cfg.Free(dir)
	if err != nil {
		return fmt.Errorf("upgrade: the free space of %s: %w", dir, err)
	}
	if need += reserve; free < need {
		return &DiskError{dir, need, free}
	}
	return nil
}

// freeSpace is what the file system of a folder has for this user; no limit where the platform
// cannot say it.
func freeSpace(dir string) (int64, error) {
	s, err := hostinfo.SpaceOf(dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return math.MaxInt64, nil
	}
	return s.Free, err
}

// unpackedFor is what the programs of a layer may need.
func unpackedFor(d ocispec.Descriptor) int64 { return expands * d.Size }

// digestOf reads all.
func digestOf(r io.Reader) (size int64, digest string, err error) {
	sum := sha256.New()
	size, err = io.Copy(sum, r)
	return size, "sha256:" + hex.EncodeToString(sum.Sum(nil)), err
}
