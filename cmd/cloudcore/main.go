// Command cloudcore is the cloud's end of the links of all edge nodes. It sends each node
// the objects that it needs from the API server, and writes what each node reports to the
// API server in the name of that node.
//
// run.go reads the flags and assembles the parts; each other file makes one part:
// certificates.go the authorities and join tokens, edge_listener.go the port for joining
// and WebSocket links, quic.go the QUIC port, kubelet_endpoints.go kubectl logs and exec,
// health_metrics.go /healthz and /metrics. All logic is in the packages hub and controller.
package main

import (
	"context"
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

type cli struct {
	program.Common

	Run    runCmd            `cmd:"" default:"withargs" help:"Run the server (the default command)."`
	Config program.ConfigCmd `cmd:"" name:"config" help:"Show, change and check the configuration file."`
}

func main() {
	c := &cli{}
	os.Exit(program.Program{
		Name:        "cloudcore",
		Description: "The cloud's end of the links of all edge nodes.",
		CLI:         c,
		ConfigFile:  "/etc/edgekit/cloudcore.yaml",
		Command:     c.command,
	}.Main())
}

// command returns what runs a command of the grammar.
func (c *cli) command(command any) program.Runner {
	cmd, ok := command.(*runCmd)
	if !ok {
		return nil
	}
	return func(ctx context.Context, _ program.Output) error { return cmd.Run(ctx, c) }
}
