package program

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// UnknownSettingError says that a program has no setting of a name.
type UnknownSettingError struct {
	Setting string
	Nearest string // a setting with a similar name
}

func (e *UnknownSettingError) Error() string {
	return fmt.Sprintf("unknown setting %q; did you mean %q?", e.Setting, e.Nearest)
}

// CheckStart reports what would keep the program from starting with these arguments if it
// read its settings from another file: an error in the file, or a value that no setting
// takes. What only the start itself finds out is not among it. changed are settings that the
// file is to change: one that the program does not have is an *UnknownSettingError, and one
// that the command line or the environment sets too is an error, for it goes before the file.
//
// The grammar, p.CLI, must be a fresh one: it is filled in.
func (p Program) CheckStart(args []string, file string, changed []string) error {
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

// FileSetting is the plain value of a setting in a configuration file; "" if it is not there, or
// the file is not one. It is for what must be known before the program parses its settings.
func FileSetting(name, setting string) string {
	text, err := os.ReadFile(name)
	if err != nil || len(text) > maxConfig {
		return ""
	}
	f, err := parseYAML(name, text)
	if err != nil || f.values[setting] == nil {
		return ""
	}
	return f.values[setting].Value
}
