// Package settings reads and changes the configuration file of edgecore or cloudcore, a flat
// map of settings in YAML. Comments and settings that are not changed stay as they are.
package settings

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// File is a configuration file. It is for one goroutine.
type File struct {
	path    string
	doc     yaml.Node
	changed bool
}

// maxFile bounds the size of a file in bytes.
const maxFile = 1 << 20

// Read reads a file. One that is not there is empty.
func Read(path string) (*File, error) {
	f := &File{path: path}
	text, err := readFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if err := yaml.Unmarshal(text, &f.doc); err != nil {
		return nil, fmt.Errorf("settings: %s: %s: correct the YAML", path, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(f.doc.Content) == 0 {
		head := f.doc.HeadComment
		f.doc = yaml.Node{Kind: yaml.DocumentNode, HeadComment: head, Content: []*yaml.Node{{Kind: yaml.MappingNode}}}
	}
	if f.doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("settings: %s: want lines of the form 'setting: value'", path)
	}
	return f, nil
}

func readFile(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("%s: over %d bytes: not a configuration file", path, maxFile)
	}
	return text, err
}

// node is the value of a setting; nil if it is not set.
func (f *File) node(name string) *yaml.Node {
	top := f.doc.Content[0].Content
	for i := 0; i+1 < len(top); i += 2 {
		if top[i].Value == name {
			return top[i+1]
		}
	}
	return nil
}

// Values are the values of a setting: those of a list, or the one of a plain value; none if
// it is not set, or a map.
func (f *File) Values(name string) []string {
	n := f.node(name)
	switch {
	case n == nil || n.Tag == "!!null":
		return nil
	case n.Kind == yaml.ScalarNode:
		return []string{n.Value}
	case n.Kind == yaml.SequenceNode:
		var out []string
		for _, item := range n.Content {
			out = append(out, item.Value)
		}
		return out
	}
	return nil
}

// Set sets a setting to a plain value, in the form that it has as a flag.
func (f *File) Set(name, value string) {
	if old := f.node(name); old != nil && old.Kind == yaml.ScalarNode && old.Value == value {
		return
	}
	n := &yaml.Node{}
	n.SetString(value)
	f.replace(name, n)
}

// SetMap adds pairs to a setting that is a map. Pairs that it has stay.
func (f *File) SetMap(name string, pairs map[string]string) {
	n := f.node(name)
	if n == nil || n.Kind != yaml.MappingNode {
		n = &yaml.Node{Kind: yaml.MappingNode}
		f.replace(name, n)
	}
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		value := &yaml.Node{}
		value.SetString(pairs[key])
		i := 0
		for i+1 < len(n.Content) && n.Content[i].Value != key {
			i += 2
		}
		if i+1 < len(n.Content) {
			if n.Content[i+1].Value == pairs[key] {
				continue
			}
			n.Content[i+1] = value
		} else {
			k := &yaml.Node{}
			k.SetString(key)
			n.Content = append(n.Content, k, value)
		}
		f.changed = true
	}
}

func (f *File) replace(name string, value *yaml.Node) {
	f.changed = true
	top := f.doc.Content[0]
	for i := 0; i+1 < len(top.Content); i += 2 {
		if top.Content[i].Value == name {
			top.Content[i+1] = value
			return
		}
	}
	key := &yaml.Node{}
	key.SetString(name)
	top.Content = append(top.Content, key, value)
}

// Changed reports whether a setting has another value than in the file.
func (f *File) Changed() bool { return f.changed }

// Write replaces the file in one step and makes that durable; an unchanged one is left alone.
// A new file has the mode 0644, in folders that are made if needed.
func (f *File) Write() error {
	if !f.changed {
		return nil
	}
	text, err := yaml.Marshal(&f.doc)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := Replace(f.path, text, 0o644); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	f.changed = false
	return nil
}

// Replace replaces a file in one step and makes that durable. A file that is there keeps its
// mode; a new one gets the one given, in folders that are made if needed.
func Replace(path string, text []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once the file has its name
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
