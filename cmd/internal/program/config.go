package program

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// maxConfig bounds the size of a configuration file.
const maxConfig = 1 << 20

// file is a configuration file: a flat map from the flags' names to values.
type file struct {
	name   string
	values map[string]*yaml.Node
	keys   []*yaml.Node
}

func loadYAML(program string) kong.ConfigurationLoader {
	return func(r io.Reader) (kong.Resolver, error) {
		name := program + " configuration"
		if f, ok := r.(*os.File); ok {
			name = f.Name()
		}
		text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
		if err != nil {
			return nil, err
		}
		if len(text) > maxConfig {
			return nil, fmt.Errorf("%s: over %d bytes: not a configuration file", name, maxConfig)
		}
		return parseYAML(name, text)
	}
}

func parseYAML(name string, text []byte) (*file, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s: correct the YAML, or see 'config print' for a valid file", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	f := &file{name: name, values: make(map[string]*yaml.Node)}
	if len(doc.Content) == 0 {
		return f, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s:%d: want a list of 'setting: value' lines", name, top.Line)
	}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key := top.Content[i]
		if _, twice := f.values[key.Value]; twice {
			return nil, fmt.Errorf("%s:%d: %q is set twice", name, key.Line, key.Value)
		}
		f.keys = append(f.keys, key)
		f.values[key.Value] = top.Content[i+1]
	}
	return f, nil
}

// Validate refuses keys that are not settings of the program.
func (f *file) Validate(app *kong.Application) error {
	known := make(map[string]bool)
	for _, flag := range settings(app.Node) {
		known[flag.Name] = true
	}
	for _, key := range f.keys {
		if known[key.Value] {
			continue
		}
		names := make([]string, 0, len(known))
		for name := range known {
			names = append(names, name)
		}
		return fmt.Errorf("%s:%d: unknown setting %q; did you mean %q?", f.name, key.Line, key.Value, nearest(key.Value, names))
	}
	return nil
}

// Resolve returns the file's value for a flag that neither the command line nor
// the environment sets.
func (f *file) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	node, ok := f.values[flag.Name]
	if !ok {
		return nil, nil
	}
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	value, err := scalar(node, flag)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", f.name, node.Line, err)
	}
	return value, nil
}

// scalar returns a value of a flag in the form that it has on the command line.
func scalar(n *yaml.Node, flag *kong.Flag) (any, error) {
	switch n.Kind {
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil, nil
		}
		return n.Value, nil
	case yaml.SequenceNode:
		items := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, errors.New("want a list of plain values")
			}
			items = append(items, item.Value)
		}
		return joinList(items, flag), nil
	case yaml.MappingNode:
		pairs := make(map[string]string)
		for i := 0; i+1 < len(n.Content); i += 2 {
			pairs[n.Content[i].Value] = n.Content[i+1].Value
		}
		return joinMap(pairs, flag), nil
	}
	return nil, errors.New("want a plain value, a list or a map")
}

// joinList is a list as the flag takes it on the command line.
func joinList(items []string, flag *kong.Flag) string {
	sep := separator(flag.Tag.Sep, ',')
	escaped := make([]string, 0, len(items))
	for _, item := range items {
		escaped = append(escaped, strings.ReplaceAll(item, sep, `\`+sep))
	}
	return strings.Join(escaped, sep)
}

// joinMap is a map as the flag takes it on the command line.
func joinMap(pairs map[string]string, flag *kong.Flag) string {
	items := make([]string, 0, len(pairs))
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		items = append(items, key+"="+pairs[key])
	}
	return strings.Join(items, separator(flag.Tag.MapSep, ';'))
}

func separator(have, otherwise rune) string {
	if have <= 0 {
		have = otherwise
	}
	return string(have)
}

// settings lists the flags of the program and its default command that a file
// can set, in the order of their declaration.
func settings(root *kong.Node) []*kong.Flag {
	flags := slices.Clone(root.Flags)
	if root.DefaultCmd != nil {
		flags = append(flags, root.DefaultCmd.Flags...)
	}
	return slices.DeleteFunc(flags, func(f *kong.Flag) bool {
		return f.Hidden || slices.Contains([]string{"help", "version", "config"}, f.Name)
	})
}

// nearest picks the name with the smallest edit distance to word.
func nearest(word string, names []string) string {
	slices.Sort(names)
	best, least := "", len(word)+64
	for _, name := range names {
		if d := distance(word, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is the Levenshtein distance between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
