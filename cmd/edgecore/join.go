package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
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
	credentials, err := j.join(ctx, dir)
	if err != nil {
		return err
	}
	if err := credentials.Save(dir); err != nil {
		return err
	}
	if err := saveCloud(dir, j.Cloud); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "joined %s as node %s; the certificate is valid until %s\nstart it, or start it again, with: edgecore --data-dir %s\n",
		j.Cloud, j.Node, credentials.Leaf.NotAfter.Format("2006-01-02"), cli.DataDir)
	return err
}

// busyTries is how often a cloud that is too busy is asked.
const busyTries = 5

// join trades the token. Its key is on disk before the cloud is asked: when the
// answer is lost, the same command repeats the join with the same token.
func (j *joinCmd) join(ctx context.Context, dir string) (join.Credentials, error) {
	token, err := j.token()
	if err != nil {
		return join.Credentials{}, err
	}
	key, err := join.PendingKey(dir)
	if err != nil {
		return join.Credentials{}, err
	}
	clock, err := join.NewClock(filepath.Join(dir, clockFile))
	if err != nil {
		return join.Credentials{}, err
	}
	for attempt := 1; ; attempt++ {
		credentials, err := join.JoinWithKey(ctx, join.Request{URL: "https://" + j.Cloud, Token: token, Node: j.Node, Clock: clock}, key)
		switch {
		case errors.Is(err, join.ErrRevoked):
			// The next attempt makes another key.
			return credentials, errors.Join(err, join.DropPendingKey(dir))
		case !errors.Is(err, join.ErrBusy) || attempt == busyTries:
			return credentials, err
		}
		select {
		case <-time.After(time.Duration(attempt) * (time.Second + rand.N(2*time.Second))):
		case <-ctx.Done():
			return join.Credentials{}, ctx.Err()
		}
	}
}

// maxToken is more than any token has, in bytes.
const maxToken = 4 << 10

// token returns the token from where it is, checked.
func (j *joinCmd) token() (string, error) {
	if j.TokenFile == "" {
		if _, err := join.ParseToken(j.Token); err != nil {
			return "", &program.UsageError{Setting: "token", Reason: err.Error()}
		}
		return j.Token, nil
	}
	from := io.Reader(os.Stdin)
	if j.TokenFile != "-" {
		f, err := os.Open(j.TokenFile)
		if err != nil {
			return "", &program.UsageError{Setting: "token-file", Reason: err.Error()}
		}
		defer f.Close()
		from = f
	}
	b, err := io.ReadAll(io.LimitReader(from, maxToken))
	token := strings.TrimSpace(string(b))
	if err == nil {
		_, err = join.ParseToken(token)
	}
	if err != nil {
		return "", &program.UsageError{Setting: "token-file", Reason: err.Error()}
	}
	return token, nil
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
