package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

type nodeRemove struct {
	Name  string `arg:"" help:"The node's name."`
	Force bool   `help:"Even if pods are bound to it that 'kubectl drain' would move: they are ended in the API server and replaced elsewhere."`
}

// Run takes the node out.
func (n *nodeRemove) Run(ctx context.Context, cli *cli, out program.Output) error {
	client, err := cli.client(ctx)
	if err != nil {
		return err
	}
	store, err := cli.identityOf(client)
	if err != nil {
		return err
	}
	var key nodeidentity.Claimed
	done, err := nodelifecycle.Remove(ctx, nodelifecycle.RemoveConfig{
		Client: client, Node: n.Name, Force: n.Force,
		RevokeIdentity: func(ctx context.Context) error {
			var err error
			key, err = store.RevokeNode(ctx, n.Name, "")
			if errors.Is(err, nodeidentity.ErrNotClaimed) {
				return nil // its name is free: no machine has it
			}
			return err
		},
	})
	for _, pod := range done.Pods {
		if _, err := fmt.Fprintf(out, "ended pod %s\n", pod); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, n.report(done, key))
	return err
}

// report lists what was done and what is left to do.
func (n *nodeRemove) report(done nodelifecycle.Removed, key nodeidentity.Claimed) string {
	text := fmt.Sprintf("node %s is taken out: %d pods ended, its Node deleted, ", n.Name, len(done.Pods))
	if key.KeyHash == "" {
		text += "no machine had the name; should one with a certificate from before still run, 'edgectl node list' shows keys for 'edgectl node revoke --key'\n"
	} else {
		text += fmt.Sprintf("its certificate revoked (key %s)\n", key.KeyHash)
	}
	if done.Connected {
		text += "no cloudcore has said yet that its session has ended; the one that starts next refuses the node\n"
	}
	return text + fmt.Sprintf("on its machine containers run on until edgecore and they are stopped there: systemctl disable --now edgecore\n"+
		"to take the machine in again: edgectl token create --node %s, and there: edgecore join --replace ...\n", n.Name)
}
