package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/kube"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Make a token and print it. It is shown only now."`
	List   tokenList   `cmd:"" help:"List the tokens that are kept, never their secrets. Used and expired ones are kept for a day."`
	Delete tokenDelete `cmd:"" help:"Delete a token. A machine that has joined with it stays a node: see 'node revoke'."`
}

type tokenCreate struct {
	Node string        `help:"Node name that the token is for, or a pattern of names (edge-*). A pattern takes only names that no node has had; a name that was released needs a token of its own." required:"" placeholder:"NAME"`
	TTL  time.Duration `help:"How long it is valid." default:"1h" name:"ttl"`

	Approve bool          `help:"The machine waits until somebody runs 'edgectl node approve'."`
	Life    time.Duration `help:"How long the certificates of the node are valid, within cloudcore's --certificate-life-min and -max. Default: cloudcore's --certificate-life." name:"certificate-life"`
}

// Run prints the token alone on standard output.
func (t *tokenCreate) Run(ctx context.Context, cli *cli, out program.Output) error {
	if t.TTL <= 0 {
		return &program.UsageError{Setting: "ttl", Reason: "want a time above zero, such as 1h"}
	}
	if t.Life < 0 {
		return &program.UsageError{Setting: "certificate-life", Reason: "want a time above zero, such as 720h"}
	}
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	token, err := store.RequestToken(ctx, nodeidentity.TokenRequest{Nodes: t.Node, TTL: t.TTL, Approve: t.Approve, Life: t.Life})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "valid once, for node %q, for %s\n", t.Node, t.TTL)
	if t.Approve {
		fmt.Fprintln(os.Stderr, "the machine waits until somebody runs 'edgectl node approve NAME'")
	}
	if strings.Trim(t.Node, "*") == "" {
		fmt.Fprintln(os.Stderr, "warning: whoever has this token may choose any name that no node has had; a name or a narrower pattern, such as edge-*, is safer")
	}
	_, err = fmt.Fprintln(out, token.String())
	return err
}

type tokenList struct{ printer.Flags }

// joinToken is the JSON of a join token, without its secret.
type joinToken struct {
	ID      string    `json:"id"`
	Nodes   string    `json:"nodes"` // a name or a pattern
	Expires time.Time `json:"expires"`
	Approve bool      `json:"approve,omitempty"` // the machine waits for 'node approve'
	UsedBy  string    `json:"usedBy,omitempty"`
	UsedAt  time.Time `json:"usedAt,omitzero"`
}

// Run prints one line for each token.
func (l *tokenList) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	tokens, err := store.ListTokens(ctx)
	if err != nil {
		return err
	}
	t, items := tokensTable(tokens, time.Now())
	return l.Print(out, t, printer.NewList("JoinTokenList", items))
}

func tokensTable(tokens []join.Record, now time.Time) (printer.Table, []joinToken) {
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "ID"}, {Name: "NODES"}, {Name: "EXPIRES"}, {Name: "APPROVAL"}, {Name: "USED BY"}, {Name: "USED"}}}
	var items []joinToken
	for _, r := range tokens {
		expires := printer.Age(r.Expires, now)
		if now.After(r.Expires) {
			expires += " ago (expired)"
		}
		approval := ""
		if r.Approve {
			approval = "required"
		}
		items = append(items, joinToken{r.ID, r.Nodes, r.Expires, r.Approve, r.UsedFor, r.UsedAt})
		t.Rows = append(t.Rows, printer.Row{Name: "token/" + r.ID, Cells: []any{r.ID, r.Nodes, expires, approval, r.UsedFor, r.UsedAt}})
	}
	return t, items
}

// when is a time as the lists show it.
func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

type tokenDelete struct {
	ID string `arg:"" help:"The token's ID, as 'token list' shows it, or the token."`
}

// Run deletes the token.
func (t *tokenDelete) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	if err := store.DeleteToken(ctx, t.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "the token is deleted")
	return err
}

// restConfig says how the API server is reached.
func (c *cli) restConfig() (*rest.Config, error) {
	cfg, err := kube.Config(c.Kubeconfig)
	if err != nil {
		return nil, &program.UsageError{Setting: "kubeconfig", Reason: err.Error()}
	}
	return cfg, nil
}

// client makes a client of the API server and checks that the server answers.
func (c *cli) client(ctx context.Context) (kubernetes.Interface, error) {
	cfg, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	if err := kube.Reach(ctx, cfg); err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

func (c *cli) identity(ctx context.Context) (*nodeidentity.Store, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	return c.identityOf(client)
}

func (c *cli) identityOf(client kubernetes.Interface) (*nodeidentity.Store, error) {
	return nodeidentity.New(nodeidentity.Config{Client: client, Namespace: c.Namespace})
}
