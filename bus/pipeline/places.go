package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// places are the folders for what the sources of each pipeline remember, such as how far a file
// was read. They are removed with their pipelines.
type places struct {
	state string // Env.State; empty: there are none
}

func (p places) root() string { return filepath.Join(p.state, "places") }

// name is the name of a pipeline's folder: any name of a pipeline must fit into it.
func (p places) name(ref Ref) string {
	sum := sha256.Sum256([]byte(ref.Namespace + "\x00" + ref.Name))
	return hex.EncodeToString(sum[:16])
}

// of is the folder of a pipeline, which its sources make; empty if there are none.
func (p places) of(ref Ref) string {
	if p.state == "" {
		return ""
	}
	return filepath.Join(p.root(), p.name(ref))
}

// remove removes the folder of a pipeline.
func (p places) remove(ref Ref) error {
	if p.state == "" {
		return nil
	}
	if err := os.RemoveAll(p.of(ref)); err != nil {
		return fmt.Errorf("pipeline: what its sources remember: %w", err)
	}
	return nil
}

// prune removes the folders of all pipelines but some.
func (p places) prune(keep []Ref) error {
	if p.state == "" {
		return nil
	}
	entries, err := os.ReadDir(p.root())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	kept := make(map[string]bool, len(keep))
	for _, ref := range keep {
		kept[p.name(ref)] = true
	}
	var errs []error
	for _, e := range entries {
		if !kept[e.Name()] {
			errs = append(errs, os.RemoveAll(filepath.Join(p.root(), e.Name())))
		}
	}
	return errors.Join(errs...)
}
