package main

import (
	"context"
	"fmt"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// joinCmd trades a token for this machine's identity.
type joinCmd struct {
	Cloud     string `help:"Address of the cloud's cloudcore." placeholder:"HOST:PORT" required:""`
	Token     string `help:"Join token from 'edgectl token create'. Other users of this machine see it in the list of processes, and the shell's history keeps it. Use --token-file to avoid both." placeholder:"TOKEN" xor:"token" required:""`
	TokenFile string `help:"File with the join token; - is standard input." placeholder:"FILE" xor:"token" required:""`
	Node      string `help:"Name of the node. Default: this machine's host name." placeholder:"NAME"`
	Replace   bool   `help:"Replace the identity that this machine already has."`
}

// Run joins. An identity that was there before is replaced only once the cloud
// has agreed.
func (j *joinCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	node, err := nodejoin.NodeName(j.Node)
	if err != nil {
		return err
	}
	token, err := nodejoin.ReadToken(j.Token, j.TokenFile)
	if err != nil {
		return err
	}
	credentials, err := nodejoin.Join(ctx, nodejoin.Request{DataDir: cli.DataDir, Cloud: j.Cloud, Token: token, Node: node, Replace: j.Replace})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "joined %s as node %s; the certificate is valid until %s\nstart it, or start it again, with: edgecore --data-dir %s\n",
		j.Cloud, node, credentials.Leaf.NotAfter.Format("2006-01-02"), cli.DataDir)
	return err
}
