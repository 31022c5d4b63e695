package program

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// ConfigCmd is the command "config": it shows and changes the program's configuration file,
// which --config names. None of its commands reads the settings in the file for itself, so
// that they work on a file that is wrong.
type ConfigCmd struct {
	Print    PrintCmd    `cmd:"" help:"Print a configuration file with every setting at its default and what it means."`
	Get      GetCmd      `cmd:"" help:"Print settings of the file, or their defaults."`
	Set      SetCmd      `cmd:"" help:"Change settings of the file. Comments stay. A file that would be wrong is not written."`
	Diff     DiffCmd     `cmd:"" help:"List the settings of the file that are not at their defaults."`
	Validate ValidateCmd `cmd:"" help:"Check the file without starting anything."`
}

// PrintCmd is the command "config print".
type PrintCmd struct{}

// GetCmd is the command "config get".
type GetCmd struct {
	Names []string `arg:"" optional:"" help:"Names of settings. Default: those in the file." name:"name"`
}

// SetCmd is the command "config set".
type SetCmd struct {
	Settings []string `arg:"" optional:"" help:"Settings with their values, as after --." name:"name=value" sep:"none"`
	Unset    []string `help:"Remove a setting from the file, so that it has its default." placeholder:"NAME"`
	DryRun   bool     `help:"Print what would change, and change nothing." short:"d"`
}

// DiffCmd is the command "config diff".
type DiffCmd struct {
	With string `arg:"" optional:"" help:"Compare with this file in place of the defaults." name:"file"`
}

// ValidateCmd is the command "config validate".
type ValidateCmd struct {
	File string `arg:"" optional:"" help:"The file. Default: the program's." name:"file"`
}

// configRunner runs a command that looks at the configuration file. root is the grammar.
type configRunner interface {
	run(p Program, root *kong.Node, file string, out io.Writer) error
}

// onConfig returns the runner of a command of ConfigCmd; nil for all others.
func onConfig(command any) configRunner {
	switch c := command.(type) {
	case *PrintCmd:
		return c
	case *GetCmd:
		return c
	case *SetCmd:
		return c
	case *DiffCmd:
		return c
	case *ValidateCmd:
		return c
	}
	return nil
}

// configCommand finds out whether args name a command that looks at the configuration file.
func (p Program) configCommand(parser *kong.Kong, args []string) bool {
	kctx, err := kong.Trace(parser, args)
	if err != nil || kctx.Error != nil {
		return false
	}
	node := selected(kctx)
	return node.Target.IsValid() && node.Target.CanAddr() && onConfig(node.Target.Addr().Interface()) != nil
}

// configFile is the file that --config names, or the program's.
func (p Program) configFile(kctx *kong.Context) string {
	for _, path := range kctx.Path {
		if path.Flag != nil && path.Flag.Name == "config" {
			if name, ok := kctx.FlagValue(path.Flag).(kong.ConfigFlag); ok {
				return string(name)
			}
		}
	}
	return p.ConfigFile
}

// readConfig reads a configuration file; a missing one is empty.
func readConfig(name string) ([]byte, error) {
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("%s: over %d bytes: not a configuration file", name, maxConfig)
	}
	return text, err
}

// ValidateConfig parses a configuration file as the program does when it starts: an error names
// the line, the setting and the remedy. Values that only the running program can judge, such
// as an address that is in use, are not checked.
func (p Program) ValidateConfig(name string, text []byte) error {
	f, err := parseYAML(name, text)
	if err != nil {
		return err
	}
	fresh := reflect.New(reflect.TypeOf(p.CLI).Elem()).Interface()
	parser, err := kong.New(fresh, kong.Name(p.Name), kong.Resolvers(f))
	if err != nil {
		return err
	}
	if err := f.Validate(parser.Model); err != nil {
		return err
	}
	kctx, err := kong.Trace(parser, nil)
	if err != nil {
		return err
	}
	if err := kctx.Reset(); err != nil {
		return err
	}
	if err := kctx.Resolve(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if _, err := kctx.Apply(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := checkValues(kctx); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// find returns a setting of the program, or an error with the nearest name.
func find(root *kong.Node, name string) (*kong.Flag, error) {
	var names []string
	for _, flag := range settings(root) {
		if flag.Name == name {
			return flag, nil
		}
		names = append(names, flag.Name)
	}
	return nil, &UsageError{Setting: "name", Reason: fmt.Sprintf("unknown setting %q of %s; did you mean %q?", name, root.Name, nearest(name, names))}
}

// shown is a value of a file for people: lists and maps as on the command line.
func shown(f *file, flag *kong.Flag) (string, bool) {
	node, ok := f.values[flag.Name]
	if !ok {
		return flag.Default, false
	}
	value, err := scalar(node, flag)
	if err != nil || value == nil {
		return flag.Default, false
	}
	return fmt.Sprint(value), true
}

func (g *GetCmd) run(_ Program, root *kong.Node, file string, out io.Writer) error {
	text, err := readConfig(file)
	if err != nil {
		return err
	}
	f, err := parseYAML(file, text)
	if err != nil {
		return err
	}
	out = Plain(out)
	if len(g.Names) == 0 {
		for _, key := range f.keys {
			flag, err := find(root, key.Value)
			if err != nil {
				return fmt.Errorf("%s:%d: %w", file, key.Line, err)
			}
			value, _ := shown(f, flag)
			fmt.Fprintf(out, "%s: %s\n", key.Value, value)
		}
		return nil
	}
	for _, name := range g.Names {
		flag, err := find(root, name)
		if err != nil {
			return err
		}
		value, _ := shown(f, flag)
		if len(g.Names) > 1 {
			value = name + ": " + value
		}
		fmt.Fprintln(out, value)
	}
	return nil
}

func (s *SetCmd) run(p Program, root *kong.Node, file string, out io.Writer) error {
	set := make(map[string]string)
	for _, item := range s.Settings {
		name, value, ok := strings.Cut(item, "=")
		if !ok {
			return &UsageError{Setting: "name=value", Reason: fmt.Sprintf("%q: want NAME=VALUE", item)}
		}
		if _, err := find(root, name); err != nil {
			return err
		}
		set[name] = value
	}
	if len(set) == 0 && len(s.Unset) == 0 {
		return &UsageError{Setting: "name=value", Reason: "nothing to set: give NAME=VALUE, or --unset NAME"}
	}
	old, err := readConfig(file)
	if err != nil {
		return err
	}
	text, err := EditConfig(file, old, set, s.Unset)
	if err != nil {
		return err
	}
	if err := p.ValidateConfig(file, text); err != nil {
		return fmt.Errorf("%w: nothing was written", err)
	}
	printChanges(Plain(out), string(old), string(text))
	if s.DryRun {
		return nil
	}
	outcome, err := WriteConfig(file, text, 0o640)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %s", file, outcome)
	if outcome != "unchanged" && root.DefaultCmd != nil {
		fmt.Fprintf(out, "; restart %s to use it", p.Name)
	}
	fmt.Fprintln(out)
	return nil
}

// printChanges prints the lines that an edit removes and adds.
func printChanges(out io.Writer, old, text string) {
	before, after := strings.Split(old, "\n"), strings.Split(text, "\n")
	for _, line := range before {
		if line != "" && !slices.Contains(after, line) {
			fmt.Fprintln(out, "-"+line)
		}
	}
	for _, line := range after {
		if line != "" && !slices.Contains(before, line) {
			fmt.Fprintln(out, "+"+line)
		}
	}
}

func (d *DiffCmd) run(p Program, root *kong.Node, path string, out io.Writer) error {
	var files [2]*file
	for i, name := range []string{path, d.With} {
		c, err := p.parseConfig(name)
		if err != nil {
			return err
		}
		files[i] = c
	}
	out = Plain(out)
	for _, flag := range settings(root) {
		have, _ := shown(files[0], flag)
		other, _ := shown(files[1], flag)
		if have != other {
			fmt.Fprintf(out, "%s: %q -> %q\n", flag.Name, other, have)
		}
	}
	return nil
}

// parseConfig reads and checks a file; "" is an empty one.
func (p Program) parseConfig(name string) (*file, error) {
	var text []byte
	if name != "" {
		var err error
		if text, err = readConfig(name); err != nil {
			return nil, err
		}
	}
	if err := p.ValidateConfig(name, text); err != nil {
		return nil, err
	}
	return parseYAML(name, text)
}

func (v *ValidateCmd) run(p Program, _ *kong.Node, file string, out io.Writer) error {
	if v.File != "" {
		file = v.File
	}
	if _, err := os.Stat(file); err != nil {
		return err
	}
	if _, err := p.parseConfig(file); err != nil {
		return &UsageError{Setting: "config", Reason: err.Error()}
	}
	_, err := fmt.Fprintf(out, "%s is valid\n", file)
	return err
}

// HasSetting reports whether a configuration file may have the name.
func (p Program) HasSetting(name string) bool {
	parser, err := kong.New(reflect.New(reflect.TypeOf(p.CLI).Elem()).Interface(), kong.Name(p.Name))
	if err != nil {
		return false
	}
	_, err = find(parser.Model.Node, name)
	return err == nil
}
