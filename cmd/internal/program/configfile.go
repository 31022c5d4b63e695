package program

import (
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ConfigFile is the configuration file of a program that is not this one: whether a setting
// exists is not checked. It is for one goroutine.
type ConfigFile struct {
	name string
	old  string
	text []byte
	file *file
}

// LoadConfig reads a configuration file. One that is not there is empty.
func LoadConfig(name string) (*ConfigFile, error) {
	text, err := readConfig(name)
	if err != nil {
		return nil, err
	}
	f, err := parseYAML(name, text)
	if err != nil {
		return nil, err
	}
	return &ConfigFile{name: name, old: string(text), text: text, file: f}, nil
}

// Values are the values of a setting: those of a list, or the one of a plain value; none if
// it is not set, or a map.
func (c *ConfigFile) Values(setting string) []string {
	n := c.file.values[setting]
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

// Pairs are the pairs of a setting, which is a map or has the form KEY=VALUE;...; none if it
// is not set.
func (c *ConfigFile) Pairs(setting string) map[string]string {
	pairs := make(map[string]string)
	switch n := c.file.values[setting]; {
	case n == nil || n.Tag == "!!null":
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			pairs[n.Content[i].Value] = n.Content[i+1].Value
		}
	case n.Kind == yaml.ScalarNode:
		for pair := range strings.SplitSeq(n.Value, ";") {
			if key, value, ok := strings.Cut(pair, "="); ok {
				pairs[strings.TrimSpace(key)] = strings.TrimSpace(value)
			}
		}
	}
	return pairs
}

// Edit changes settings as EditConfig does. Those that have the value already stay as they
// are written.
func (c *ConfigFile) Edit(set map[string]string) error {
	changes := maps.Clone(set)
	maps.DeleteFunc(changes, func(setting, value string) bool {
		n := c.file.values[setting]
		return n != nil && n.Kind == yaml.ScalarNode && n.Tag != "!!null" && n.Value == value
	})
	return c.edit(changes)
}

// AddPairs adds pairs to a setting. Pairs that it has stay. No key or value may have one of
// the characters "=" and ";".
func (c *ConfigFile) AddPairs(setting string, pairs map[string]string) error {
	all := c.Pairs(setting)
	before := len(all)
	same := true
	for key, value := range pairs {
		old, ok := all[key]
		same = same && ok && old == value
		all[key] = value
	}
	if same && before == len(all) {
		return nil
	}
	var items []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		items = append(items, key+"="+all[key])
	}
	return c.edit(map[string]string{setting: strings.Join(items, ";")})
}

func (c *ConfigFile) edit(set map[string]string) error {
	if len(set) == 0 {
		return nil
	}
	text, err := EditConfig(c.name, c.text, set, nil)
	if err != nil {
		return err
	}
	f, err := parseYAML(c.name, text)
	if err != nil {
		return err
	}
	c.text, c.file = text, f
	return nil
}

// Changed reports whether a setting has another value than in the file.
func (c *ConfigFile) Changed() bool { return string(c.text) != c.old }

// Write replaces the file if it was changed. A new file has the mode 0640.
func (c *ConfigFile) Write() error {
	if !c.Changed() {
		return nil
	}
	if _, err := WriteConfig(c.name, c.text, 0o640); err != nil {
		return err
	}
	c.old = string(c.text)
	return nil
}
