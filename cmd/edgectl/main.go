// Command edgectl is for the operator. It manages join tokens, node names and
// certificate authorities, prepares a cluster for its first cloudcore, and shows
// what an edge node on this machine holds.
package main

import (
	"context"
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

type cli struct {
	program.Common
	Kubeconfig string `help:"Kubeconfig of the API server. Default: the service account of the pod, or KUBECONFIG, or ~/.kube/config." placeholder:"FILE" aliases:"kube-config"`
	Namespace  string `help:"Namespace of edgekit's own objects." default:"edgekit-system"`

	Check checkCmd `cmd:"" help:"On this machine: check whether it can be, or is, an edge node. Each finding says the remedy."`
	Join  joinCmd  `cmd:"" help:"Make this machine an edge node: check it, get its identity, install and start the service, and wait for the link. With --many, do so for machines over SSH."`
	Reset resetCmd `cmd:"" help:"Take the node off this machine: list what goes, ask, and remove it."`

	Token  tokenCmd  `cmd:"" help:"Join tokens: what a machine needs to become a node."`
	Device deviceCmd `cmd:"" help:"Devices: convert old files, see and set live values."`
	Node   nodeCmd   `cmd:"" help:"Nodes: approve, list, release, abandon, retire, replace or revoke them."`
	MQTT   mqttCmd   `cmd:"" name:"mqtt" help:"On an edge node: the users of its MQTT broker."`
	CA     caCmd     `cmd:"" name:"ca" help:"Certificate authorities: list them, and rotate to a new one."`

	Status statusCmd `cmd:"" help:"Say what is wrong, and what to type next: of the edge node on this machine, or of all edge nodes."`

	Console consoleCmd `cmd:"" help:"Show the web console in your browser, with the rights of your kubeconfig."`

	Get      getCmd      `cmd:"" help:"On an edge node: list its pods and what else it holds, with or without the cloud."`
	Describe describeCmd `cmd:"" help:"Print everything about a node, or at an edge node about one of its pods."`
	Events   eventsCmd   `cmd:"" help:"List the events of the edge node on this machine, or of all edge nodes."`
	Logs     logsCmd     `cmd:"" help:"On an edge node: print a container's logs."`
	Exec     execCmd     `cmd:"" help:"On an edge node: run a command in a container."`
	Top      topCmd      `cmd:"" help:"On an edge node: print the CPU and memory of the node and its pods."`

	Rollback rollbackCmd `cmd:"" help:"On an edge node: go back to the edgecore before the upgrade."`
	Confirm  confirmCmd  `cmd:"" help:"On an edge node: say yes to a job that waits for it."`
	Refuse   refuseCmd   `cmd:"" help:"On an edge node: say no to a job that has not begun."`

	Pipeline pipelineCmd `cmd:"" help:"Pipelines: check, test and try them without a node; at a node their live events, queues and dead letters."`

	Images imagesCmd `cmd:"" help:"On an edge node: images of its container runtime, for sites without a registry."`
	Debug  debugCmd  `cmd:"" help:"Collect what is needed to find a fault."`

	State stateCmd `cmd:"" help:"On an edge node: export and restore what the node keeps, while edgecore does not run."`

	Restart restartCmd `cmd:"" help:"On an edge node: restart containers of pods, with or without the cloud. The pods stay."`
	Unhold  unholdCmd  `cmd:"" help:"On an edge node: let pods start that wait for it (annotation edge.kubeedge.io/hold-upgrade)."`

	Init    initCmd    `cmd:"" help:"Install the cloud part: the namespace, the resources (CRDs), the rights and cloudcore itself."`
	Upgrade upgradeCmd `cmd:"" help:"Upgrade the edge node on this machine, or the cloud part."`

	Simulate simulateCmd `cmd:"" help:"Run many light nodes, with pods and devices, against a real cloudcore, to see what a cluster carries."`

	Show   manifestCmd   `cmd:"" name:"manifest" help:"Print what 'init' applies, as YAML for kubectl apply."`
	Access kubeconfigCmd `cmd:"" name:"kubeconfig" help:"Print a kubeconfig for cloudcore: its service account's, with the rights of 'manifest' and no more."`
	Config configCmd     `cmd:"" name:"config" help:"Show, change, check and convert configuration files."`

	Completion program.CompletionCmd `cmd:"" help:"Print a completion script for bash, zsh or fish."`

	replace func(path string, args, environ []string) error // nil is syscall.Exec
}

func main() {
	if isKeadm(os.Args[0]) {
		os.Exit(answerKeadm(os.Args[1:], os.Stderr))
	}
	os.Exit(edgectl().Main())
}

// edgectl is the program.
func edgectl() program.Program {
	c := &cli{}
	return program.Program{
		Name:        "edgectl",
		Description: "For the operator of edge nodes.",
		CLI:         c,
		ConfigFile:  "/etc/edgekit/edgectl.yaml",
		Command:     c.command,
		Elsewhere:   c.elsewhere,
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
		Run(*cli, program.Output) error
	}:
		return func(_ context.Context, out program.Output) error { return cmd.Run(c, out) }
	case interface{ Run(*cli) error }:
		return func(context.Context, program.Output) error { return cmd.Run(c) }
	}
	return nil
}
