package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/sdnotify"
	"github.com/edgekit/edgekit/hub/join"
)

// joinCmd trades a token for this machine's identity.
type joinCmd struct {
	Cloud     string `help:"Address of the cloud's cloudcore." placeholder:"HOST:PORT" required:""`
	Token     string `help:"Join token from 'edgectl token create'. Other users of this machine see it in the list of processes, and the shell's history keeps it. Use --token-file to avoid both." placeholder:"TOKEN" xor:"token" required:""`
	TokenFile string `help:"File with the join token; - is standard input." placeholder:"FILE" xor:"token" required:""`
	Node      string `help:"Name of the node. Default: this machine's host name." placeholder:"NAME"`
	Replace   bool   `help:"Replace the identity that this machine already has."`
	Wait      bool   `help:"Wait until somebody approves the join, if the cloud requires that. With --no-wait edgecore goes on with it when it is started." default:"true" negatable:""`
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
	if errors.Is(err, join.ErrPending) {
		waits, _, loadErr := nodejoin.LoadWaiting(cli.DataDir)
		if loadErr != nil {
			return loadErr
		}
		fmt.Fprintln(out, waits)
		if !j.Wait {
			_, err = fmt.Fprintf(out, "start edgecore, which goes on when it is approved: edgecore --data-dir %s\n", cli.DataDir)
			return err
		}
		credentials, err = nodejoin.Wait(ctx, cli.DataDir, nil)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "joined %s as node %s; the certificate is valid until %s\nstart it, or start it again, with: edgecore --data-dir %s\n",
		j.Cloud, node, credentials.Leaf.NotAfter.Format("2006-01-02"), cli.DataDir)
	return err
}

// waitForApproval goes on with a join that waits for an operator, if there is one and the
// machine has no identity yet.
func waitForApproval(ctx context.Context, dataDir string, log *slog.Logger) error {
	waits, ok, err := nodejoin.LoadWaiting(dataDir)
	if err != nil || !ok || waits.Joined {
		return err
	}
	log.Info("edgecore waits until this machine is approved, and asks every few minutes", "run", "edgectl node approve "+waits.Node, "cloud", waits.Cloud, "key", waits.KeyHash)
	group, ctx := errgroup.WithContext(ctx)
	ctx, done := context.WithCancel(ctx)
	defer done()
	group.Go(sdnotifyWaiting(ctx, waits.String(), log))
	group.Go(func() error {
		defer done()
		_, err := nodejoin.Wait(ctx, dataDir, func(why error, next time.Duration) {
			log.Debug("the join waits", "err", why, "retry", next.Round(time.Second))
		})
		return err
	})
	return group.Wait()
}

// sdnotifyWaiting tells systemd that edgecore does what it can while it waits.
func sdnotifyWaiting(ctx context.Context, line string, log *slog.Logger) func() error {
	reporter := sdnotify.New(sdnotify.Config{
		Healthy:   func(context.Context) error { return nil },
		Status:    func(ctx context.Context, set func(string)) { set(line); <-ctx.Done() },
		Continues: func() bool { return true }, Logger: log,
	})
	return func() error { return reporter.Run(ctx) }
}
