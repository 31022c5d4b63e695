// Command cloudcore is the cloud's end of the links of all edge nodes: it
// brings each node what the API server says it must hold, and writes what each
// node reports back as that node.
package main

import (
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

type cli struct {
	program.Common

	Run    runCmd            `cmd:"" default:"withargs" help:"Run the server (the default command)."`
	Config program.ConfigCmd `cmd:"" name:"config" help:"Show the configuration."`
}

func main() {
	os.Exit(program.Program{
		Name:        "cloudcore",
		Description: "The cloud's end of the links of all edge nodes.",
		CLI:         &cli{},
		ConfigFile:  "/etc/edgekit/cloudcore.yaml",
	}.Main())
}
