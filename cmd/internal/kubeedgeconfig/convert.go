package kubeedgeconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read.
const (
	maxFile  = 1 << 20
	maxDepth = 32
)

// Importance is how much a note matters.
type Importance int

// The values of an Importance.
const (
	NotNeeded Importance = iota // edgekit needs no such field
	Look                        // something works in another way: read the note
	Lost                        // edgekit does not do this
)

// Note says why a field is not converted.
type Note struct {
	Field      string // its path; never a value
	Reason     string // and the remedy, if there is one
	Importance Importance
}

// Secret is a password or token that the file has.
type Secret struct {
	Field   string
	Setting string // of edgekit, which names a file with the secret; "" if edgekit has no use for it
	Value   []byte // never printed by this package
}

// Result is a converted file.
type Result struct {
	Program  string         // whose settings they are: edgecore or cloudcore
	Settings map[string]any // by the names of the program's flags: a string, []string or map[string]string
	Node     string         // the node's name, for the command that joins; "" if the file has none
	Notes    []Note         // in the order of the file
	Secrets  []Secret
}

// Convert converts a file; name is for errors. A file that is not KubeEdge's, or that KubeEdge
// would not read, is an error.
func Convert(name string, text []byte) (*Result, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: over %d bytes: not a configuration of KubeEdge", name, maxFile)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s: correct the YAML", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	c := &converter{file: name, fields: make(map[string]*yaml.Node), result: Result{Settings: make(map[string]any)}}
	if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: want an object with apiVersion and kind: EdgeCore or CloudCore", name)
	}
	if err := c.checkNodes(doc.Content[0], 0); err != nil {
		return nil, err
	}
	rules, err := c.begin(doc.Content[0])
	if err != nil {
		return nil, err
	}
	c.walk(doc.Content[0], "", rules)
	c.decide(rules)
	if len(c.wrong) > 0 {
		return nil, errors.Join(c.wrong...)
	}
	return &c.result, nil
}

// converter converts one file.
type converter struct {
	file   string
	fields map[string]*yaml.Node // that have a value, by path
	order  []string
	done   map[string]bool
	result Result
	wrong  []error
}

// begin finds out what the file is.
func (c *converter) begin(top *yaml.Node) (*table, error) {
	var version, kind string
	for i := 0; i+1 < len(top.Content); i += 2 {
		switch strings.ToLower(top.Content[i].Value) {
		case "apiversion":
			version = top.Content[i+1].Value
		case "kind":
			kind = top.Content[i+1].Value
		}
	}
	group, v, _ := strings.Cut(version, "/")
	switch {
	case group == "edgecore.config.kubeedge.io" && strings.EqualFold(kind, "EdgeCore") && (v == "v1alpha1" || v == "v1alpha2"):
		c.result.Program = "edgecore"
		return edgeTable(), nil
	case group == "cloudcore.config.kubeedge.io" && strings.EqualFold(kind, "CloudCore") && v == "v1alpha1":
		c.result.Program = "cloudcore"
		return cloudTable(), nil
	}
	return nil, fmt.Errorf("%s: it is a %q of %q: want kind EdgeCore of edgecore.config.kubeedge.io/v1alpha2 or kind CloudCore of cloudcore.config.kubeedge.io/v1alpha1", c.file, kind, version)
}

// checkNodes refuses what a configuration of KubeEdge does not have: aliases, keys that are there
// twice, and deep nesting.
func (c *converter) checkNodes(n *yaml.Node, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("%s:%d: nested over %d levels: not a configuration of KubeEdge", c.file, n.Line, maxDepth)
	}
	if n.Kind == yaml.AliasNode {
		return fmt.Errorf("%s:%d: *%s is an alias: write the value out", c.file, n.Line, n.Value)
	}
	seen := make(map[string]bool)
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			if seen[child.Value] || child.Kind != yaml.ScalarNode {
				return fmt.Errorf("%s:%d: %q: want each name once", c.file, child.Line, child.Value)
			}
			seen[child.Value] = true
		}
		if err := c.checkNodes(child, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// walk notes the fields with a value. A field that a rule takes whole is not looked into.
func (c *converter) walk(n *yaml.Node, path string, rules *table) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i].Value, n.Content[i+1]
		at := strings.TrimPrefix(path+"."+key, ".")
		_, whole := rules.fields[at]
		switch {
		case path == "" && (strings.EqualFold(key, "apiVersion") || strings.EqualFold(key, "kind")):
		case value.Kind == yaml.MappingNode && !whole:
			c.walk(value, at, rules)
		case !empty(value):
			c.fields[at] = value
			c.order = append(c.order, at)
		}
	}
}

// empty reports whether a value is the same as none. false is a value.
func empty(n *yaml.Node) bool {
	return n.Tag == "!!null" || n.Kind == yaml.ScalarNode && n.Value == "" || n.Kind != yaml.ScalarNode && len(n.Content) == 0
}

// decide applies the rules to the fields.
func (c *converter) decide(rules *table) {
	c.done = make(map[string]bool)
	for _, path := range c.order {
		if c.done[path] {
			continue
		}
		rule, ok := rules.find(path)
		switch {
		case !ok:
			c.note(path, Lost, "no field of KubeEdge that edgekit knows")
		case rule.convert != nil:
			rule.convert(c, path, c.fields[path])
		case rule.setting != "":
			c.set(path, rule.setting, c.text(path))
		default:
			c.note(path, rule.importance, rule.reason)
		}
	}
}

// text is a scalar field's value; "" if there is none.
func (c *converter) text(path string) string {
	n := c.fields[path]
	if n == nil {
		return ""
	}
	if n.Kind != yaml.ScalarNode {
		c.refuse(n, "%s: want a plain value", path)
		return ""
	}
	return n.Value
}

// is reports whether a field has the value true; otherwise is what a missing one means.
func (c *converter) is(path string, otherwise bool) bool {
	n := c.fields[path]
	if n == nil {
		return otherwise
	}
	var out bool
	if n.Kind != yaml.ScalarNode || n.Decode(&out) != nil {
		c.refuse(n, "%s: want true or false", path)
	}
	return out
}

// list is a list of plain values.
func (c *converter) list(path string) []string {
	n := c.fields[path]
	if n == nil {
		return nil
	}
	var out []string
	if n.Kind != yaml.SequenceNode || n.Decode(&out) != nil {
		c.refuse(n, "%s: want a list of plain values", path)
	}
	return out
}

func (c *converter) set(path, setting string, value any) {
	c.done[path] = true
	if text, ok := value.(string); ok && text == "" {
		return
	}
	c.result.Settings[setting] = value
}

func (c *converter) note(path string, importance Importance, reason string) {
	c.done[path] = true
	c.result.Notes = append(c.result.Notes, Note{Field: path, Reason: reason, Importance: importance})
}

func (c *converter) secret(path, setting, reason string) {
	c.result.Secrets = append(c.result.Secrets, Secret{Field: path, Setting: setting, Value: []byte(c.text(path))})
	c.note(path, Look, reason)
}

func (c *converter) refuse(n *yaml.Node, format string, args ...any) {
	if len(c.wrong) < 8 {
		c.wrong = append(c.wrong, fmt.Errorf("%s:%d: %w", c.file, n.Line, fmt.Errorf(format, args...)))
	}
}

// rule decides about a field. The first of convert, setting and reason that is there counts.
type rule struct {
	convert    func(c *converter, path string, n *yaml.Node)
	setting    string
	importance Importance
	reason     string
}

// table has the rules by the fields' paths; a rule of a path ending in "." is for all below.
type table struct{ fields map[string]rule }

// find returns the rule of a path: its own, or that of the nearest above it.
func (t *table) find(path string) (rule, bool) {
	if r, ok := t.fields[path]; ok {
		return r, true
	}
	for above := path; ; {
		i := strings.LastIndex(above, ".")
		if i < 0 {
			return rule{}, false
		}
		above = above[:i]
		if r, ok := t.fields[above+"."]; ok {
			return r, true
		}
	}
}

// Settings lists the names of edgekit's settings that Convert may set, for a test that compares
// them with the program's.
func Settings(program string) []string {
	t := edgeTable()
	if program == "cloudcore" {
		t = cloudTable()
	}
	names := slices.Clone(convertedBy(program))
	for _, r := range t.fields {
		if r.setting != "" {
			names = append(names, r.setting)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
