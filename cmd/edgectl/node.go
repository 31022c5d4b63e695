package main

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

type nodeCmd struct {
	Release nodeRelease `cmd:"" help:"Free a node's name, so that another machine, or the same with a new key, can join with it."`
	Abandon nodeAbandon `cmd:"" help:"Give up a node that will not come back: its pods are ended without waiting for it, and replaced elsewhere."`
}

type nodeRelease struct {
	Name string `arg:"" help:"The node's name."`
}

// Run frees the name.
func (n *nodeRelease) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	if err := store.ReleaseNode(ctx, n.Name); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the name %s is free; a certificate made for it stays valid until it expires\n", n.Name)
	return err
}
