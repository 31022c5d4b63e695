package main

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
)

// waitingMachine is a machine that waits, as 'node list --pending --output json' prints it.
type waitingMachine struct {
	Node    string    `json:"node"`
	Address string    `json:"address"`
	Machine string    `json:"machine"`
	Key     string    `json:"key"` // SHA-256 of the public key, in hex
	Token   string    `json:"token"`
	Since   time.Time `json:"since"`
}

// printWaiting prints the machines that wait for an approval.
func (l *nodeList) printWaiting(ctx context.Context, store *nodeidentity.Store, out program.Output) error {
	all, err := store.Waiting(ctx)
	if err != nil {
		return err
	}
	t := printer.Table{Columns: []printer.Column{{Name: "NODE"}, {Name: "ADDRESS"}, {Name: "MACHINE"}, {Name: "SINCE"}, {Name: "TOKEN"}, {Name: "KEY"}}}
	var items []waitingMachine
	for _, w := range all {
		items = append(items, waitingMachine{w.Node, w.Address, w.Machine, w.KeyHash, w.Token, w.Since})
		t.Rows = append(t.Rows, printer.Row{Name: "node/" + w.Node, Cells: []any{w.Node, w.Address, w.Machine, w.Since, w.Token, w.KeyHash}})
	}
	return l.Print(out, t, printer.NewList("WaitingMachineList", items))
}

// decisionFlags name the machine that is decided about.
type decisionFlags struct {
	Name string `arg:"" help:"The name of the node that the machine is to be."`
	Key  string `help:"Beginning of the hash of the machine's key, as 'node list --pending' and the machine itself show it: another machine of this name is then left alone." placeholder:"HASH"`
}

type nodeApprove struct{ decisionFlags }

// Run approves a machine. It needs no right to Secrets: see the role edgekit:node-approver.
func (n *nodeApprove) Run(ctx context.Context, cli *cli, out program.Output) error {
	w, err := n.decide(ctx, cli, nodeidentity.Approve)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(program.Plain(out), "node %s is approved (key %s, machine %s, at %s); the machine gets its certificate when it asks next, within 5 minutes\n",
		w.Node, w.KeyHash, cmp.Or(w.Machine, "unknown"), cmp.Or(w.Address, "an unknown address"))
	return err
}

type nodeDeny struct{ decisionFlags }

// Run denies a machine.
func (n *nodeDeny) Run(ctx context.Context, cli *cli, out program.Output) error {
	w, err := n.decide(ctx, cli, nodeidentity.Deny)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(program.Plain(out), "node %s is denied (key %s): the key is revoked and the name is free when the machine asks next, or within 10 minutes\n", w.Node, w.KeyHash)
	return err
}

func (f *decisionFlags) decide(ctx context.Context, cli *cli, d nodeidentity.Decision) (nodeidentity.Waiting, error) {
	store, err := cli.identity(ctx)
	if err != nil {
		return nodeidentity.Waiting{}, err
	}
	return store.Decide(ctx, f.Name, f.Key, d)
}
