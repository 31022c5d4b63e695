// Command edgecore is the agent on an edge node: it keeps the one link to the
// cloud, runs the node's pods, and holds the truth about its devices, with or
// without that link.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/edgekit/edgekit/cmd/internal/kubeletconfig"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

type cli struct {
	program.Common
	DataDir string `help:"Folder of everything that the node keeps: identity, store, pods' volumes." default:"/var/lib/edgekit" placeholder:"DIR"`

	Run    runCmd            `cmd:"" default:"withargs" help:"Run the agent (the default command)."`
	Join   joinCmd           `cmd:"" help:"Get this machine's identity from the cloud with a join token."`
	Store  storeCmd          `cmd:"" aliases:"state" help:"Back up, restore, encrypt or re-key the store while the agent does not run."`
	Config program.ConfigCmd `cmd:"" name:"config" help:"Show, change and check the configuration file."`

	kubelet *kubeletconfig.Config // nil without such files
	starts  starts
}

func main() {
	args := os.Args[1:]
	s := bootProgram(args)
	if s.program.Asked {
		return
	}
	// Signals are taken before boot counts the start of a trial of settings, so that a SIGTERM from
	// now on ends the agent in order.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	c := &cli{starts: s.bootSettings(args)}
	os.Exit(c.starts.exit(c.program().Run(ctx, args)))
}

// program is this program with its grammar.
func (c *cli) program() program.Program {
	return program.Program{
		Name:        "edgecore",
		Description: "The agent on an edge node: pods, devices, and the link to the cloud.",
		CLI:         c,
		ConfigFile:  defaultConfig,
		Command:     c.command,
		Below:       c.kubeletValues,
	}
}

// command returns what runs a command of the grammar.
func (c *cli) command(command any) program.Runner {
	switch cmd := command.(type) {
	case interface {
		Run(context.Context, *cli, program.Output) error
	}:
		return func(ctx context.Context, out program.Output) error { return cmd.Run(ctx, c, out) }
	case interface {
		Run(context.Context, *cli) error
	}:
		return func(ctx context.Context, _ program.Output) error { return cmd.Run(ctx, c) }
	case interface{ Run(*cli) error }:
		return func(context.Context, program.Output) error { return cmd.Run(c) }
	}
	return nil
}
