package dist

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edgekit/edgekit/cmd/release/programs"
)

// Check builds the release twice, each time from a copy of the source in a folder of its own, in
// the folder dir, and returns how many files have the same bytes. Files that differ are an error. With
// fresh, the second build uses an empty build cache, so that all is compiled anew. inspect, unless it
// is nil, is called with the folder of the first build. Only signatures in Notation's form differ: the
// Signer must have no certificate.
func (r Release) Check(ctx context.Context, dir string, fresh bool, inspect func(out string) error) (files int, err error) {
	if r.Log == nil {
		r.Log = io.Discard
	}
	names, err := programs.Files(ctx, r.Source)
	if err != nil {
		return 0, err
	}
	var sums [2]map[string]string
	places := []string{"first", "another/folder/for-the-second"}
	for _, place := range places { // before the builds: what somebody edits meanwhile is in neither
		if err := copyTree(filepath.Join(dir, place, "source"), r.Source, names); err != nil {
			return 0, err
		}
	}
	for i, place := range places {
		one := r
		one.Source, one.Out = filepath.Join(dir, place, "source"), filepath.Join(dir, place, "out")
		if i == 1 && fresh {
			one.Cache = filepath.Join(dir, "cache")
		}
		r.logf("build %d of 2", i+1)
		if err := one.Write(ctx); err != nil {
			return 0, err
		}
		if sums[i], err = folderSums(one.Out); err != nil {
			return 0, err
		}
		if i == 0 && inspect != nil {
			if err := inspect(one.Out); err != nil {
				return 0, err
			}
		}
		if err := os.RemoveAll(filepath.Join(dir, strings.Split(place, "/")[0])); err != nil {
			return 0, fmt.Errorf("dist: %w", err)
		}
	}
	var bad []string
	all := maps.Clone(sums[0])
	maps.Copy(all, sums[1])
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if sums[0][name] != sums[1][name] {
			bad = append(bad, name)
		}
	}
	if len(bad) > 0 {
		return 0, fmt.Errorf("dist: two builds differ in %s", strings.Join(bad, ", "))
	}
	return len(all), nil
}

func copyTree(to, from string, names []string) error {
	for _, name := range names {
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return fmt.Errorf("dist: %w", err)
		}
		info, err := os.Lstat(filepath.Join(from, name))
		if err != nil {
			return fmt.Errorf("dist: %w", err)
		}
		if !info.Mode().IsRegular() {
			continue
		}
		if err := copyFile(filepath.Join(from, name), target); err != nil {
			return err
		}
	}
	return nil
}

func folderSums(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("dist: %w", err)
	}
	sums := map[string]string{}
	for _, e := range entries {
		if sums[e.Name()], err = fileSum(filepath.Join(dir, e.Name())); err != nil {
			return nil, err
		}
	}
	return sums, nil
}
