package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

type caCmd struct {
	Show   caShow   `cmd:"" help:"Print the certificates of the authorities that are trusted, as PEM: what API servers take as --kubelet-certificate-authority to verify the nodes' kubelet endpoints at cloudcore. Print them again after each step of 'rotate'."`
	List   caList   `cmd:"" help:"List the certificate authorities, the one that signs first: how many nodes have a certificate of each, and when the first of those ends."`
	Rotate caRotate `cmd:"" help:"Rotate to a new authority: publish, switch, retire, forget, in this order. No node loses its link by the first three steps."`
}

type caShow struct{}

// Run prints the bundle.
func (caShow) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	a, err := store.Authorities(ctx)
	if err != nil {
		return err
	}
	for _, c := range a.Bundle() {
		if err := pem.Encode(out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}); err != nil {
			return err
		}
	}
	return nil
}

type caList struct{ printer.Flags }

// authority is the JSON of a certificate authority.
type authority struct {
	Stage string    `json:"stage"` // issuer, next, trusted or retired
	Name  string    `json:"name"`
	Pin   string    `json:"pin"`
	Ends  time.Time `json:"ends"`
	Nodes int       `json:"nodes"`              // whose certificate is of this authority
	First time.Time `json:"firstEnds,omitzero"` // when the first of those certificates ends
}

// Run prints one line for each authority.
func (l *caList) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	a, err := store.Authorities(ctx)
	if err != nil {
		return err
	}
	nodes, err := store.ListNodes(ctx)
	if err != nil {
		return err
	}
	t := printer.Table{Columns: []printer.Column{{Name: "STAGE"}, {Name: "ENDS"}, {Name: "NODES"}, {Name: "FIRST NODE ENDS"}, {Name: "NAME"}, {Name: "PIN"}}}
	var items []authority
	for _, c := range a.List() {
		name := c.Certificate.Subject.String()
		count, first := certificatesOf(nodes, c.Pin)
		items = append(items, authority{c.Stage, name, c.Pin, c.Certificate.NotAfter, count, first})
		t.Rows = append(t.Rows, printer.Row{Name: "authority/" + c.Pin, Cells: []any{c.Stage, c.Certificate.NotAfter, count, first, name, c.Pin}})
	}
	return l.Print(out, t, printer.NewList("AuthorityList", items))
}

// certificatesOf counts the nodes whose certificate is of the authority, and returns when the
// first of those certificates ends.
func certificatesOf(nodes []nodeidentity.Claimed, pin string) (count int, first time.Time) {
	for _, n := range nodes {
		if n.Issuer != pin || n.KeyHash == "" || !n.Revoked.IsZero() {
			continue
		}
		count++
		if first.IsZero() || !n.Until.IsZero() && n.Until.Before(first) {
			first = n.Until
		}
	}
	return count, first
}

type caRotate struct {
	Publish caPublish `cmd:"" help:"1. Publish a new authority. Connected nodes trust it within 18 hours; it signs nothing yet."`
	Switch  caSwitch  `cmd:"" help:"2. Let the new authority sign. Servers follow at once, connected nodes renew within two days. The key of the old authority is destroyed."`
	Retire  caRetire  `cmd:"" help:"3. End the trust in the old authority, except that its certificates are still renewed."`
	Forget  caForget  `cmd:"" help:"4. Remove an authority. A node that was offline since before 'switch' must join again. Also undoes 'publish'."`
}

// rotate does one step and prints what comes of it.
func rotate(ctx context.Context, cli *cli, out program.Output, change func(join.Authorities) (join.Authorities, error), then string) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	if _, err := store.Rotate(ctx, change); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, then)
	return err
}

type caPublish struct {
	Cert string `help:"Certificate of an authority of your own. Default: a new one is made." placeholder:"FILE"`
	Key  string `help:"Its key." placeholder:"FILE"`
}

// Run publishes a new authority.
func (c *caPublish) Run(ctx context.Context, cli *cli, out program.Output) error {
	next, err := c.authority()
	if err != nil {
		return err
	}
	bridged := false
	err = rotate(ctx, cli, out, func(a join.Authorities) (join.Authorities, error) {
		a, err := a.Publish(next, time.Now())
		bridged = a.Bridged()
		return a, err
	}, "authority "+next.Pin()+" is published; next, best after a day: edgectl ca rotate switch")
	if err == nil && !bridged {
		_, err = fmt.Fprintln(out, "the authority before may not vouch for others (pathlen 0): nodes that are offline from now until 'switch' will have to join again")
	}
	return err
}

func (c *caPublish) authority() (*join.CA, error) {
	if c.Cert == "" && c.Key == "" {
		return nodeidentity.NewCA(time.Now())
	}
	cert, err := os.ReadFile(c.Cert)
	if err != nil {
		return nil, &program.UsageError{Setting: "cert", Reason: err.Error()}
	}
	key, err := os.ReadFile(c.Key)
	if err != nil {
		return nil, &program.UsageError{Setting: "key", Reason: err.Error()}
	}
	ca, err := join.LoadCA(cert, key)
	if err != nil {
		return nil, &program.UsageError{Setting: "cert", Reason: err.Error()}
	}
	return ca, nil
}

type caSwitch struct{}

// Run has the published authority sign.
func (caSwitch) Run(ctx context.Context, cli *cli, out program.Output) error {
	return rotate(ctx, cli, out, join.Authorities.Switch,
		"the new authority signs; next, when 'edgectl node list' shows no other: edgectl ca rotate retire")
}

type caRetire struct {
	Force bool `help:"Even if nodes still have certificates of the old authority: they must renew before they can connect again."`
}

// Run retires the old authorities when no node needs them any more.
func (c *caRetire) Run(ctx context.Context, cli *cli, out program.Output) error {
	store, err := cli.identity(ctx)
	if err != nil {
		return err
	}
	a, err := store.Authorities(ctx)
	if err != nil {
		return err
	}
	behind, err := store.Behind(ctx, a.Issuer.Pin())
	if err != nil {
		return err
	}
	if len(behind) > 0 && !c.Force {
		return errors.New(stillNeeded(behind))
	}
	return rotate(ctx, cli, out, join.Authorities.Retire,
		"the old authority is retired; nodes with its certificates may only renew; last: edgectl ca rotate forget PIN (see 'edgectl ca list')")
}

// stillNeeded names some of the nodes that have not renewed.
func stillNeeded(behind []nodeidentity.Claimed) string {
	var names []string
	for _, c := range behind[:min(len(behind), 5)] {
		names = append(names, c.Node)
	}
	return fmt.Sprintf("%d nodes have not renewed with the new authority, such as %s: wait until they have, or use --force: they renew when they next connect",
		len(behind), strings.Join(names, ", "))
}

type caForget struct {
	Pin string `arg:"" help:"The authority's pin, as 'ca list' shows it."`
}

// Run drops an authority.
func (c *caForget) Run(ctx context.Context, cli *cli, out program.Output) error {
	return rotate(ctx, cli, out, func(a join.Authorities) (join.Authorities, error) { return a.Forget(c.Pin) },
		"the authority is forgotten")
}
