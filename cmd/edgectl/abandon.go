package main

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

type nodeAbandon struct {
	Name string `arg:"" help:"The node's name."`
}

// Run gives the node up: another program may then join under its name.
func (n *nodeAbandon) Run(ctx context.Context, cli *cli, out program.Output) error {
	client, err := cli.client(ctx)
	if err != nil {
		return err
	}
	done, err := nodelifecycle.Abandon(ctx, client, n.Name)
	for _, pod := range done.Pods {
		if _, err := fmt.Fprintf(out, "ended pod %s\n", pod); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `node %s is given up: %d pods ended, their owners replace them elsewhere
should it return, it ends them too and takes pods again; 'edgectl node retire %s' takes it out for good
`, n.Name, len(done.Pods), n.Name)
	return err
}
