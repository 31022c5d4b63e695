package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

type nodeRetire struct {
	Name    string        `arg:"" help:"The node's name."`
	Timeout time.Duration `help:"How long to wait for disruption budgets, and for pods to end." default:"5m"`
	Force   bool          `help:"End pods in the API server that no controller replaces, and those that were not drained in time."`
	Devices string        `help:"What becomes of Devices that are bound to the node: with refuse the node is not retired, with unbind they are bound to no node, with keep they wait for a node of this name." enum:"refuse,unbind,keep" default:"refuse"`
}

// Run takes the node out of service.
func (n *nodeRetire) Run(ctx context.Context, cli *cli, out program.Output) error {
	if n.Timeout <= 0 {
		return &program.UsageError{Setting: "timeout", Reason: "want a time above zero, such as 5m"}
	}
	c, err := cli.lifecycle(ctx)
	if err != nil {
		return err
	}
	var key nodeidentity.Claimed
	done, err := nodelifecycle.Retire(ctx, nodelifecycle.RetireConfig{
		Client: c.client, Dynamic: c.dynamic, Node: n.Name, Timeout: n.Timeout, Force: n.Force, Devices: nodelifecycle.DevicePolicy(n.Devices),
		RevokeIdentity: c.revoke(n.Name, nodeidentity.ReasonRetired, &key),
	})
	list(out, "evicted pod", done.Evicted)
	list(out, "ended pod", done.Pods)
	list(out, "unbound device", done.Devices)
	listVolumes(out, n.Name, done.Volumes)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(out, n.report(done, key))
	return err
}

// report lists what was done and what is left to do.
func (n *nodeRetire) report(done nodelifecycle.Retired, key nodeidentity.Claimed) string {
	text := fmt.Sprintf("node %s is retired: %d pods evicted, %d ended, its Node deleted, ", n.Name, len(done.Evicted), len(done.Pods))
	return text + revokedText(key, done.Connected) + fmt.Sprintf("on its machine containers run on until edgecore and they are stopped there: systemctl disable --now edgecore\n"+
		"to take the machine in again: edgectl token create --node %s, and there: edgecore join --replace ...\n", n.Name)
}

// revokedText says what became of a node's identity.
func revokedText(key nodeidentity.Claimed, connected bool) string {
	var text strings.Builder
	if key.KeyHash == "" {
		text.WriteString("no machine had the name; should one with a certificate from before still run, 'edgectl node list' shows keys for 'edgectl node revoke --key'\n")
	} else {
		fmt.Fprintf(&text, "its certificate revoked (key %s)\n", key.KeyHash)
	}
	if connected {
		text.WriteString("no cloudcore has said yet that its session has ended; the one that starts next refuses the node\n")
	}
	return text.String()
}

type nodeReplace struct {
	Old     string        `arg:"" help:"The node whose machine is replaced."`
	New     string        `arg:"" optional:"" help:"The node that takes its place; it has joined already. Without it another machine gets the old node's own name: its token is printed."`
	Force   bool          `help:"With NEW: end pods that no controller replaces."`
	TTL     time.Duration `help:"Without NEW: how long the token is valid." default:"1h" name:"ttl"`
	Approve bool          `help:"Without NEW: the machine waits until somebody runs 'edgectl node approve'."`
}

// Run gives the node's place to another machine.
func (n *nodeReplace) Run(ctx context.Context, cli *cli, out program.Output) error {
	if n.TTL <= 0 {
		return &program.UsageError{Setting: "ttl", Reason: "want a time above zero, such as 1h"}
	}
	c, err := cli.lifecycle(ctx)
	if err != nil {
		return err
	}
	if n.New == "" || n.New == n.Old {
		return n.sameName(ctx, c, out)
	}
	var key nodeidentity.Claimed
	done, err := nodelifecycle.Replace(ctx, nodelifecycle.ReplaceConfig{
		Client: c.client, Dynamic: c.dynamic, Old: n.Old, New: n.New, Force: n.Force,
		RevokeIdentity: c.revoke(n.Old, nodeidentity.ReasonReplaced, &key),
	})
	list(out, "carried over label", done.Labels)
	list(out, "carried over annotation", done.Annotations)
	list(out, "carried over taint", done.Taints)
	list(out, "moved device", done.Devices)
	list(out, "ended pod", done.Pods)
	listVolumes(out, n.Old, done.Volumes)
	if errors.Is(err, nodelifecycle.ErrNoNode) {
		return fmt.Errorf("%w: let the new machine join first: edgectl token create --node %s", err, n.New)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "node %s has the place of node %s: %d devices moved, %d pods ended, the old Node deleted, %sswitch the old machine off: its containers run on\n",
		n.New, n.Old, len(done.Devices), len(done.Pods), revokedText(key, done.Connected))
	return err
}

// sameName revokes the old machine and makes a token for the name. The Node, what is set on
// it, its Devices and its pods stay: the pods start on the new machine.
func (n *nodeReplace) sameName(ctx context.Context, c *lifecycle, out program.Output) error {
	volumes, err := nodelifecycle.LocalVolumes(ctx, c.client, n.Old)
	if errors.Is(err, nodelifecycle.ErrNoNode) {
		return fmt.Errorf("%w: shut the old machine out with 'edgectl node revoke %s', and give the new one a token: edgectl token create --node %s", err, n.Old, n.Old)
	}
	if err != nil {
		return err
	}
	// The token first: the old machine must not be shut out where no other can join. It is of
	// no use while the name is taken.
	token, err := c.store.RequestToken(ctx, nodeidentity.TokenRequest{Nodes: n.Old, TTL: n.TTL, Approve: n.Approve})
	if err != nil {
		return err
	}
	var key nodeidentity.Claimed
	if err := c.revoke(n.Old, nodeidentity.ReasonReplaced, &key)(ctx); err != nil {
		return errors.Join(err, c.store.DeleteToken(ctx, token.ID))
	}
	listVolumes(out, n.Old, volumes)
	_, err = fmt.Fprintf(out, "the old machine of node %s is shut out, %sits Node, devices and pods stay, and the pods start on the new machine; there, within %s:\nedgecore join --cloud HOST:PORT --node %s --token %s\n",
		n.Old, revokedText(key, false), n.TTL, n.Old, token)
	return err
}

// lifecycle is what the commands need that end nodes.
type lifecycle struct {
	client  kubernetes.Interface
	dynamic dynamic.Interface
	store   *nodeidentity.Store
}

func (c *cli) lifecycle(ctx context.Context) (*lifecycle, error) {
	cfg, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	l := &lifecycle{}
	if l.client, err = c.client(ctx); err != nil {
		return nil, err
	}
	if l.dynamic, err = dynamic.NewForConfig(cfg); err != nil {
		return nil, err
	}
	l.store, err = c.identityOf(l.client)
	return l, err
}

// revoke revokes the key that has the name, if any has it. A name that is free already, as
// when a command is repeated, is no error.
func (l *lifecycle) revoke(node string, why nodeidentity.Reason, had *nodeidentity.Claimed) func(context.Context) error {
	return func(ctx context.Context) error {
		gone, err := l.store.RevokeBecause(ctx, node, why)
		if errors.Is(err, nodeidentity.ErrNotClaimed) {
			return nil
		}
		*had = gone
		return err
	}
}

func list(out io.Writer, what string, names []string) {
	for _, name := range names {
		fmt.Fprintln(program.Plain(out), what, name)
	}
}

func listVolumes(out io.Writer, node string, volumes []nodelifecycle.Volume) {
	for _, v := range volumes {
		fmt.Fprintf(program.Plain(out), "volume %s is on the disk of node %s and stays there: restore its data elsewhere, or delete it\n", v, node)
	}
}
