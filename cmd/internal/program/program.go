package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/internal/sdnotify"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it could not do what was asked
	exitUsage  = 2 // the command line or the configuration file is wrong
)

// Program is one of edgekit's programs.
type Program struct {
	Name        string // also the prefix of its environment variables
	Description string
	CLI         any    // pointer to the kong grammar
	ConfigFile  string // read when it exists; --config names another
	// Command returns the Runner of a command of the grammar, which is passed as a pointer;
	// nil if that is no command. It is not called for commands with
	// Run(context.Context, Output) error or Run(Output) error. A nil Command means that there
	// are no others.
	Command func(command any) Runner
	// Below returns the values of settings that neither the command line nor the environment
	// nor the configuration file has. It is called at most once, for a command that has
	// settings. Its argument returns what those three have for a setting, "" for nothing. A
	// nil Below means that there are no such values.
	Below func(setting func(name string) string) (Values, error)
	// Elsewhere may run a command of ConfigCmd in another program: handled says that it did. A
	// nil Elsewhere means that there is no other program.
	Elsewhere func(args []string) (handled bool, err error)
	Stdout    io.Writer // nil means os.Stdout
	Stderr    io.Writer // nil means os.Stderr
}

// Common holds the flags that every program has.
type Common struct {
	Config  kong.ConfigFlag  `help:"Read settings from this YAML file." placeholder:"FILE" env:"-"`
	Version kong.VersionFlag `help:"Print the version and exit." env:"-"`
	Log     Log              `embed:"" prefix:"log-"`
}

// Main runs the program with the process's arguments until it is done or gets
// SIGINT or SIGTERM, and returns its exit code. A second signal ends the
// process at once.
func (p Program) Main() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	return p.Run(ctx, os.Args[1:])
}

// Run runs the program with the given arguments and returns its exit code.
func (p Program) Run(ctx context.Context, args []string) int {
	if p.Stdout == nil {
		p.Stdout = os.Stdout
	}
	if p.Stderr == nil {
		p.Stderr = os.Stderr
	}
	if code, done := p.runConfig(args); done {
		return code
	}
	under := &below{values: p.Below}
	parser, err := p.parser(under)
	if err != nil {
		return p.fail(exitFailed, err)
	}
	kctx, done, err := p.parse(parser, under, args)
	switch {
	case under.err != nil:
		return p.fail(exitUsage, under.err)
	case err != nil:
		return p.fail(exitUsage, fmt.Errorf("%w (see %s --help)", under.explain(err), p.Name))
	case done:
		return exitOK
	}
	var usage *UsageError
	switch err := p.call(ctx, kctx); {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		return p.fail(exitUsage, under.explain(err))
	default:
		return p.fail(exitFailed, under.explain(err))
	}
}

// parser makes the parser of the grammar.
func (p Program) parser(under *below) (*kong.Kong, error) {
	options := []kong.Option{
		kong.Name(p.Name), kong.Description(p.Description),
		kong.DefaultEnvars(strings.ToUpper(p.Name)),
		kong.Resolvers(under), // the last one that has a value counts
		kong.Writers(p.Stdout, p.Stderr),
	}
	files := []string{p.ConfigFile}
	if p.ConfigFile == "" {
		files = nil
	}
	parser, err := kong.New(p.CLI, append(options, kong.Configuration(under.remember(loadYAML(p.Name)), files...))...)
	if err == nil {
		err = p.checkGrammar(parser.Model.Node)
	}
	return parser, err
}

// runConfig runs a command that looks at the configuration file, which is not read for it. done
// is false if args name another.
func (p Program) runConfig(args []string) (code int, done bool) {
	if !slices.Contains(args, "config") {
		return 0, false
	}
	parser, err := kong.New(p.CLI, kong.Name(p.Name), kong.Description(p.Description), kong.DefaultEnvars(strings.ToUpper(p.Name)), kong.Writers(p.Stdout, p.Stderr))
	if err != nil || !p.configCommand(parser, args) {
		return 0, false
	}
	kctx, err := kong.Trace(parser, args)
	if err != nil {
		return p.fail(exitUsage, err), true
	}
	if answered, err := p.answer(kctx); err != nil {
		return p.fail(exitFailed, err), true
	} else if answered {
		return exitOK, true
	}
	if err := kctx.Reset(); err != nil {
		return p.fail(exitUsage, err), true
	}
	if _, err := kctx.Apply(); err != nil {
		return p.fail(exitUsage, err), true
	}
	if p.Elsewhere != nil {
		if handled, err := p.Elsewhere(args); err != nil {
			return p.fail(exitFailed, err), true
		} else if handled {
			return exitOK, true
		}
	}
	var usage *UsageError
	switch err := p.callConfig(kctx); {
	case err == nil:
		return exitOK, true
	case errors.As(err, &usage):
		return p.fail(exitUsage, err), true
	default:
		return p.fail(exitFailed, err), true
	}
}

func (p Program) fail(code int, err error) int {
	line := plainText(strings.Join(strings.Fields(err.Error()), " "))
	fmt.Fprintf(p.Stderr, "%s: %s\n", p.Name, line)
	sdnotify.Failed(line)
	return code
}

// Output is where a command writes its result.
type Output struct{ io.Writer }

// UsageError marks a failure as one of the command line or the configuration.
type UsageError struct {
	Setting string // the flag's name
	Reason  string // what is wrong with it and what to do
}

func (e *UsageError) Error() string { return "--" + e.Setting + ": " + e.Reason }

// version is the line that --version prints.
func (p Program) version() string {
	return fmt.Sprintf("%s %s %s %s/%s", p.Name, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// UnlessEnded is err, but nil when ctx has ended. A program that runs until it is asked to end has
// done so then, whatever it was in the middle of.
func UnlessEnded(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
