package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
)

// joinCmd trades a token for this machine's identity.
type joinCmd struct {
	Cloud   string `help:"Address of the cloud's cloudcore." placeholder:"HOST:PORT" required:""`
	Token   string `help:"Join token from 'edgectl token create'." placeholder:"TOKEN" required:""`
	Node    string `help:"Name of the node. Nothing means this machine's host name." placeholder:"NAME"`
	Replace bool   `help:"Replace the identity that this machine already has."`
}

// Run joins. The data folder is touched only once the cloud has agreed.
func (j *joinCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	if _, _, err := net.SplitHostPort(j.Cloud); err != nil {
		return &program.UsageError{Setting: "cloud", Reason: err.Error() + ": want host:port"}
	}
	if j.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return &program.UsageError{Setting: "node", Reason: err.Error() + ": give a name"}
		}
		j.Node = host
	}
	dir := filepath.Join(cli.DataDir, identityDir)
	had, err := join.LoadCredentials(dir)
	if err == nil && !j.Replace {
		return fmt.Errorf("%s: this machine has already joined as %s: use --replace to join anew", dir, had.Node)
	}
	if err := writable(cli.DataDir); err != nil {
		return err
	}
	credentials, err := join.Join(ctx, join.Request{URL: "https://" + j.Cloud, Token: j.Token, Node: j.Node})
	switch {
	case errors.Is(err, join.ErrTokenMalformed):
		return &program.UsageError{Setting: "token", Reason: err.Error()}
	case err != nil:
		return err
	}
	if err := credentials.Save(dir); err != nil {
		return err
	}
	if err := saveCloud(dir, j.Cloud); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "joined %s as node %s; the certificate is valid until %s\nstart it with: edgecore --data-dir %s\n",
		j.Cloud, j.Node, credentials.Leaf.NotAfter.Format("2006-01-02"), cli.DataDir)
	return err
}

// writable finds out, before the token is used up, whether the identity can
// be kept.
func writable(dataDir string) error {
	if err := os.MkdirAll(dataDir, 0o700); err != nil {
		return fmt.Errorf("%w: choose another folder with --data-dir", err)
	}
	probe, err := os.CreateTemp(dataDir, ".probe-")
	if err != nil {
		return fmt.Errorf("%w: the data folder cannot be written: choose another with --data-dir", err)
	}
	probe.Close()
	return os.Remove(probe.Name())
}
