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

type nodeCmd struct {
	List    nodeList    `cmd:"" help:"List the names that machines have joined with, their keys and certificates, and what was revoked."`
	Approve nodeApprove `cmd:"" help:"Approve a machine that waits to join (see 'node list --pending'). Compare the key with what the machine shows."`
	Deny    nodeDeny    `cmd:"" help:"Deny a machine that waits to join: its key is revoked, and its name is free."`
	Release nodeRelease `cmd:"" help:"Free a node's name, so that another machine, or the same with a new key, can join with it. The key that had it is refused from then on, and its session ends. Use this for a machine that is gone or is set up again."`
	Abandon nodeAbandon `cmd:"" help:"Abandon a node that will not come back: its pods end without waiting for it and are replaced elsewhere."`
	Retire  nodeRetire  `cmd:"" aliases:"remove" help:"Retire a node for good: it is drained by the Eviction API, which respects disruption budgets, its certificate is revoked, what is left of its pods ends, and its Node is deleted. Should it fail, repeat it; the node stays unschedulable. After 'kubectl delete node' alone a connected node registers again."`
	Replace nodeReplace `cmd:"" help:"Give the place of a node to another machine. With NEW, a node that has joined: labels, annotations and taints are carried over, Devices move, the old node's certificate is revoked and its Node deleted. Without NEW the other machine joins under the old name."`
	Revoke  nodeRevoke  `cmd:"" help:"Revoke a node's certificate: its session ends at once, and its key can no longer connect, renew or join, under any name. Its name is freed. Use this for a machine that is stolen or not trusted."`
}

type nodeList struct {
	printer.Flags
	Pending bool `help:"List the machines that wait for 'node approve' instead: name, address, hardware, since when, and key. It takes no right to Secrets."`
}

// claimedNode is the JSON of a name that a machine has joined with, or of a revoked key.
type claimedNode struct {
	Node            string    `json:"node"`
	State           string    `json:"state"` // joined, free, waits for approval, revoked, or why it was revoked
	KeyHash         string    `json:"keyHash,omitempty"`
	Authority       string    `json:"authority,omitempty"` // pin of the authority that signed its last certificate
	CertificateEnds time.Time `json:"certificateEnds,omitzero"`
	Revoked         time.Time `json:"revoked,omitzero"`
}

// Run prints one line for each name and for each revoked key.
func (l *nodeList) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	if l.Pending {
		return l.printWaiting(ctx, store, out)
	}
	nodes, err := store.ListNodes(ctx)
	if err != nil {
		return err
	}
	t, items := nodesTable(nodes)
	return l.Print(out, t, printer.NewList("NodeIdentityList", items))
}

func nodesTable(nodes []nodeidentity.Claimed) (printer.Table, []claimedNode) {
	t := printer.Table{Columns: []printer.Column{{Name: "NODE"}, {Name: "STATE"}, {Name: "CERTIFICATE ENDS"}, {Name: "AUTHORITY"}, {Name: "KEY"}, {Name: "REVOKED", Wide: true}}}
	var items []claimedNode
	for _, n := range nodes {
		items = append(items, claimedNode{n.Node, state(n), n.KeyHash, n.Issuer, n.Until, n.Revoked})
		t.Rows = append(t.Rows, printer.Row{Name: "node/" + n.Node, Cells: []any{n.Node, state(n), n.Until, short(n.Issuer), n.KeyHash, n.Revoked}})
	}
	return t, items
}

func state(c nodeidentity.Claimed) string {
	switch {
	case !c.Revoked.IsZero():
		return cmp.Or(string(c.Reason), "revoked")
	case c.Waits:
		return "waits for approval"
	case c.KeyHash == "":
		return "free"
	}
	return "joined"
}

// short is enough of a pin to distinguish authorities.
func short(pin string) string { return pin[:min(len(pin), 12)] }

type nodeRelease struct {
	Name string `arg:"" help:"The node's name."`
}

// Run frees the name.
func (n *nodeRelease) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	had, err := store.ReleaseNode(ctx, n.Name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "the name %s is free; the key that had it (%s, its certificate ends %s) is turned away from now on\n",
		n.Name, had.KeyHash, when(had.Until))
	return err
}

type nodeRevoke struct {
	Name string `arg:"" help:"The node's name."`
	Key  string `help:"Hash of the key to revoke, as 'node list' shows it. Default: the key that has the name. Required for a name that was released." placeholder:"HASH"`
}

// Run revokes the key.
func (n *nodeRevoke) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	gone, err := store.RevokeNode(ctx, n.Name, n.Key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "node %s is revoked (key %s)\nto let the machine join anew: edgectl token create --node %s, and there: edgecore join --replace ...\n",
		n.Name, gone.KeyHash, n.Name)
	return err
}
