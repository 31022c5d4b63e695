package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// maxConfigFile bounds a docker configuration file in bytes.
const maxConfigFile = 1 << 20

// ConfigFiles are the docker configuration files of a node, in order: the first that can
// be read has credentials for the images of all pods. A file named .dockercfg has the older
// form. They are read for each pull, so that a change takes effect at once. Credential
// helpers (credsStore, credHelpers) are not run, as by a kubelet: see package
// edged/credentialprovider. A ConfigFiles may be used by several goroutines.
type ConfigFiles []string

// DefaultConfigFiles lists where a kubelet looks, for a node whose kubelet folder and home
// folder are these; an empty home has none.
func DefaultConfigFiles(kubelet, home string) ConfigFiles {
	folders := []struct{ json, old string }{{kubelet, kubelet}}
	if home != "" {
		folders = append(folders, struct{ json, old string }{filepath.Join(home, ".docker"), home})
	}
	folders = append(folders, struct{ json, old string }{"/.docker", "/"})
	var out ConfigFiles
	for _, f := range folders {
		out = append(out, filepath.Join(f.json, "config.json"))
	}
	for _, f := range folders {
		out = append(out, filepath.Join(f.old, oldConfigFile))
	}
	return out
}

// oldConfigFile is the name of a file of the older form.
const oldConfigFile = ".dockercfg"

// Credentials lists what the first usable file holds for an image, whatever pod it is
// for. Files that are there and cannot be used are named in the error, which comes with
// what a later one holds.
func (c ConfigFiles) Credentials(_ context.Context, _ *corev1.Pod, ref Ref) ([]Credential, error) {
	var errs []error
	for _, name := range c {
		entries, err := readConfigFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			errs = append(errs, fmt.Errorf("image: docker configuration %s: %w", name, err))
			continue
		}
		return sorted(appendMatches(nil, entries, ref, Source{Kind: KindNode})), errors.Join(errs...)
	}
	return nil, errors.Join(errs...)
}

func readConfigFile(name string) (map[string]entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("is no regular file"), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxConfigFile {
		return nil, fmt.Errorf("is longer than %d bytes", maxConfigFile)
	}
	if filepath.Base(name) == oldConfigFile {
		return parseDockercfg(text)
	}
	return parseConfigJSON(text)
}
