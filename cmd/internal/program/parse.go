package program

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// parse reads the arguments, the environment and the configuration files into the grammar.
// done says that --help or --version was answered and nothing is left to do.
//
// It takes the steps of kong's Parse by itself. Kong looks methods up by a name that the
// linker cannot know; a program that links such a call keeps every exported method of every
// type, which makes edgecore a third larger. For the same reason check replaces kong's
// Validate, and Program.Command its Run. Kong's hooks (BeforeReset, AfterApply and so on) are not called.
func (p Program) parse(parser *kong.Kong, under *below, args []string) (kctx *kong.Context, done bool, err error) {
	kctx, err = kong.Trace(parser, args)
	if err == nil {
		err = kctx.Error
	}
	if err != nil {
		return nil, false, err
	}
	if done, err = p.answer(kctx); done || err != nil {
		return nil, done, err
	}
	if err := kctx.Reset(); err != nil {
		return nil, false, err
	}
	if err := loadConfigs(parser, kctx); err != nil {
		return nil, false, err
	}
	if err := kctx.Resolve(); err != nil {
		return nil, false, err
	}
	if _, err := kctx.Apply(); err != nil {
		return nil, false, err
	}
	return kctx, false, check(kctx, under)
}

// answer does what --help or --version asks, whichever is first.
func (p Program) answer(kctx *kong.Context) (done bool, err error) {
	for _, path := range kctx.Path {
		if path.Flag == nil {
			continue
		}
		switch path.Flag.Name {
		case "help":
			return true, kctx.PrintUsage(false)
		case "version":
			_, err := fmt.Fprintln(p.Stdout, p.version())
			return true, err
		}
	}
	return false, nil
}

// loadConfigs reads the files that --config names.
func loadConfigs(parser *kong.Kong, kctx *kong.Context) error {
	for _, path := range kctx.Path {
		if path.Flag == nil {
			continue
		}
		name, ok := kctx.FlagValue(path.Flag).(kong.ConfigFlag)
		if !ok {
			continue
		}
		resolver, err := parser.LoadConfig(string(name))
		if err != nil {
			return err
		}
		kctx.AddResolver(resolver)
	}
	return nil
}
