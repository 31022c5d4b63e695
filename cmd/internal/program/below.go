package program

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// Value is the value of a setting that comes from Program.Below.
type Value struct {
	Value  any    // a string, []string or map[string]string
	Source string // where it comes from, for errors
}

// Values are values of settings by their names.
type Values map[string]Value

// below resolves settings from Program.Below. It is the first of the resolvers, so that
// the configuration file goes before it.
type below struct {
	values func(setting func(string) string) (Values, error)
	files  []*file
	asked  bool
	have   Values
	err    error
}

// remember notes the configuration files that load reads.
func (b *below) remember(load kong.ConfigurationLoader) kong.ConfigurationLoader {
	return func(r io.Reader) (kong.Resolver, error) {
		resolver, err := load(r)
		if f, ok := resolver.(*file); ok && err == nil {
			b.files = append(b.files, f)
		}
		return resolver, err
	}
}

// Validate accepts everything: settings that a program does not have are never asked for.
func (b *below) Validate(*kong.Application) error { return nil }

// Resolve gives the value of a flag that nothing before has set.
func (b *below) Resolve(ctx *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if b.values == nil || b.err != nil {
		return nil, nil
	}
	if !b.asked {
		b.asked = true
		if b.have, b.err = b.values(func(name string) string { return b.setting(ctx, name) }); b.err != nil {
			return nil, nil // Program.Run reports it: the flag at hand has no part in it
		}
	}
	value, ok := b.have[flag.Name]
	if !ok || inEnvironment(flag) {
		return nil, nil
	}
	switch v := value.Value.(type) {
	case []string:
		return joinList(v, flag), nil
	case map[string]string:
		return joinMap(v, flag), nil
	}
	return value.Value, nil
}

// inEnvironment reports whether the environment sets the flag.
func inEnvironment(flag *kong.Flag) bool {
	return slices.ContainsFunc(flag.Envs, func(env string) bool { _, set := os.LookupEnv(env); return set })
}

// setting is what the command line, the environment or a configuration file has for a
// setting of the command that runs.
func (b *below) setting(ctx *kong.Context, name string) string {
	for _, path := range ctx.Path {
		if path.Flag != nil && path.Flag.Name == name {
			return fmt.Sprint(ctx.FlagValue(path.Flag))
		}
	}
	for _, path := range ctx.Path {
		for _, flag := range path.Flags {
			if flag.Name != name {
				continue
			}
			for _, env := range flag.Envs {
				if text, set := os.LookupEnv(env); set {
					return text
				}
			}
			for _, f := range slices.Backward(b.files) {
				if n, ok := f.values[name]; ok {
					return n.Value
				}
			}
		}
	}
	return ""
}

// explain adds to an error about a setting where the setting's value comes from.
func (b *below) explain(err error) error {
	words := strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(" =:,;\"'()", r) })
	for _, name := range slices.Sorted(maps.Keys(b.have)) {
		if slices.Contains(words, "--"+name) {
			return fmt.Errorf("%w (--%s is set by %s)", err, name, b.have[name].Source)
		}
	}
	return err
}
