package program

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"
)

// UnknownSettingError says that a program has no setting of a name.
type UnknownSettingError struct {
	Setting string
	Nearest string // a setting with a similar name
}

func (e *UnknownSettingError) Error() string {
	return fmt.Sprintf("unknown setting %q; did you mean %q?", e.Setting, e.Nearest)
}

// noValue removes a setting from a file, so that its default counts again.
const noValue = "null"

// EditConfig returns the text of a configuration file with other values of some settings; all
// else, comments too, stays. A value has the form that it has on the command line; "null"
// removes the setting, and {a,b} is a list. name is that of the file, for errors. An empty
// text is an empty file. The settings are not checked: see Program.CheckConfig.
func EditConfig(name string, text []byte, set map[string]string) ([]byte, error) {
	if len(text) > maxConfig {
		return nil, fmt.Errorf("%s: over %d bytes: not a configuration file", name, maxConfig)
	}
	if _, err := parseYAML(name, text); err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	if len(doc.Content) == 0 {
		doc = yaml.Node{Kind: yaml.DocumentNode, Content: []*yaml.Node{{Kind: yaml.MappingNode, Tag: "!!map"}}}
	}
	top := doc.Content[0]
	for _, key := range slices.Sorted(maps.Keys(set)) {
		setValue(top, key, set[key])
	}
	if len(top.Content) == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(&doc), enc.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return out.Bytes(), nil
}

func setValue(top *yaml.Node, key, value string) {
	i := 0
	for i < len(top.Content) && top.Content[i].Value != key {
		i += 2
	}
	there := i < len(top.Content)
	if value == noValue {
		if there {
			top.Content = slices.Delete(top.Content, i, i+2)
		}
		return
	}
	if inner, ok := strings.CutPrefix(value, "{"); ok && strings.HasSuffix(inner, "}") {
		value = strings.TrimSuffix(inner, "}")
	}
	node := &yaml.Node{}
	node.SetString(value)
	if there {
		node.LineComment, node.HeadComment, node.FootComment = top.Content[i+1].LineComment, top.Content[i+1].HeadComment, top.Content[i+1].FootComment
		top.Content[i+1] = node
		return
	}
	top.Content = append(top.Content, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: key}, node)
}

// CheckConfig reports what would keep the program from starting with these arguments if it
// read its settings from another file: an error in the file, or a value that no setting
// takes. What only the start itself finds out is not among it. changed are settings that the
// file is to change: one that the program does not have is an *UnknownSettingError, and one
// that the command line or the environment sets too is an error, for it goes before the file.
//
// The grammar, p.CLI, must be a fresh one: it is filled in.
func (p Program) CheckConfig(args []string, file string, changed []string) error {
	p.ConfigFile = ""
	args = append(withoutConfig(args), "--config="+file)
	under := &below{values: p.Below}
	parser, err := p.parser(under)
	if err != nil {
		return err
	}
	flags := settings(parser.Model.Node)
	names := make([]string, 0, len(flags))
	for _, f := range flags {
		names = append(names, f.Name)
	}
	for _, name := range changed {
		i := slices.Index(names, name)
		if i < 0 {
			return &UnknownSettingError{Setting: name, Nearest: nearest(name, slices.Clone(names))}
		}
		if inEnvironment(flags[i]) {
			return fmt.Errorf("the environment sets %s, which goes before the file: remove %s there", name, strings.Join(flags[i].Envs, " or "))
		}
	}
	kctx, done, err := p.parse(parser, under, args)
	switch {
	case under.err != nil:
		return under.err
	case err != nil:
		return under.explain(err)
	case done:
		return errors.New("the arguments ask for help or the version")
	}
	return onCommandLine(kctx, changed)
}

// onCommandLine refuses settings that the command line has.
func onCommandLine(kctx *kong.Context, names []string) error {
	for _, path := range kctx.Path {
		if path.Flag != nil && !path.Resolved && slices.Contains(names, path.Flag.Name) {
			return fmt.Errorf("the command line sets %s, which goes before the file: remove --%s there", path.Flag.Name, path.Flag.Name)
		}
	}
	return nil
}

// withoutConfig leaves --config out.
func withoutConfig(args []string) []string {
	var out []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--":
			return append(out, args[i:]...)
		case args[i] == "--config":
			i++
		case strings.HasPrefix(args[i], "--config="):
		default:
			out = append(out, args[i])
		}
	}
	return out
}
