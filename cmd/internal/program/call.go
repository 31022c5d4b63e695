package program

import (
	"context"
	"fmt"

	"github.com/alecthomas/kong"
)

// Runner is a command that is ready to run.
type Runner func(ctx context.Context, out Output) error

// checkGrammar refuses a grammar with a command that nothing runs, or with a rule that check
// does not know: a mistake in a program, not in its use.
func (p Program) checkGrammar(root *kong.Node) error {
	for _, leaf := range root.Leaves(false) {
		if p.runner(root, leaf) == nil {
			return fmt.Errorf("%s: Program.Command does not know this command", leaf.FullPath())
		}
		for _, level := range leaf.AllFlags(false) {
			for _, f := range level {
				if len(f.And) > 0 || len(f.LastWins) > 0 {
					return fmt.Errorf("%s: --%s: the tags and, lastwins have no effect", leaf.FullPath(), f.Name)
				}
			}
		}
	}
	return nil
}

// call runs the command that the arguments name.
func (p Program) call(ctx context.Context, kctx *kong.Context) error {
	node := selected(kctx)
	run := p.runner(kctx.Model.Node, node)
	if run == nil {
		return fmt.Errorf("%s: this is no command", node.FullPath())
	}
	return run(ctx, Output{p.Stdout})
}

// callConfig runs a command that looks at the configuration file.
func (p Program) callConfig(kctx *kong.Context) error {
	cmd := onConfig(selected(kctx).Target.Addr().Interface())
	return cmd.run(p, kctx.Model.Node, p.configFile(kctx), p.Stdout)
}

// runner returns nil for a node that has commands below it and does nothing of its own.
func (p Program) runner(root, node *kong.Node) Runner {
	if !node.Target.IsValid() || !node.Target.CanAddr() {
		return nil
	}
	switch c := node.Target.Addr().Interface().(type) {
	case *PrintCmd, *GetCmd, *SetCmd, *DiffCmd, *ValidateCmd:
		return func(context.Context, Output) error { return nil } // callConfig runs them
	case *CompletionCmd:
		return func(_ context.Context, out Output) error { return c.print(root, out) }
	case interface {
		Run(context.Context, Output) error
	}:
		return c.Run
	case interface{ Run(Output) error }:
		return func(_ context.Context, out Output) error { return c.Run(out) }
	default:
		if p.Command == nil {
			return nil
		}
		return p.Command(c)
	}
}
