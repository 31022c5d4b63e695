// Command edgectl is for the operator: join tokens, node names, and what a
// cluster needs before its first cloudcore.
package main

import (
	"os"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

type cli struct {
	program.Common
	Kubeconfig string `help:"How to reach the API server. Nothing means the service account of the pod, or KUBECONFIG, or ~/.kube/config." placeholder:"FILE"`
	Namespace  string `help:"Namespace of edgekit's own objects." default:"edgekit-system"`

	Token  tokenCmd          `cmd:"" help:"Join tokens: what a machine needs to become a node."`
	Node   nodeCmd           `cmd:"" help:"Nodes that have joined: their names, and giving one up."`
	Init   initCmd           `cmd:"" help:"Create the namespace, the device resources (CRDs) and cloudcore's role in the cluster."`
	Show   manifestCmd       `cmd:"" name:"manifest" help:"Print what 'init' creates, as YAML for kubectl apply."`
	Config program.ConfigCmd `cmd:"" name:"config" help:"Show the configuration."`
}

func main() {
	os.Exit(program.Program{
		Name:        "edgectl",
		Description: "For the operator of edge nodes.",
		CLI:         &cli{},
		ConfigFile:  "/etc/edgekit/edgectl.yaml",
	}.Main())
}
