package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/bundle"
	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

type debugCmd struct {
	Bundle debugBundle `cmd:"" help:"Write an archive with what somebody elsewhere needs to find a fault of a node: versions, settings, status, metrics, logs, pods without their variables, system tables. It never reads keys, tokens, secrets or the store."`
}

// debugBundle writes a bundle of the node on this machine, or of one that is connected.
type debugBundle struct {
	DataDir string `help:"Data folder of the edgecore on this machine." default:"/var/lib/edgekit" placeholder:"DIR"`
	Node    string `help:"Ask this node, through the API server and its link, and not the one on this machine. It takes the rights get of nodes/proxy, nodes/metrics and nodes/log." placeholder:"NAME"`
	File    string `name:"output" help:"The file to write; - is standard output. Default: edgekit-NODE-TIME.tar.gz in this folder." short:"o" env:"-" placeholder:"FILE.tar.gz"`
	List    bool   `help:"Only list what the bundle would have." name:"list"`
}

// Help is more about the command.
func (d *debugBundle) Help() string {
	return `  edgectl debug bundle --list              what it would have
  edgectl debug bundle                     at an edge node, offline and with edgecore stopped too
  edgectl debug bundle --node edge-7       anywhere with a kubeconfig, of a connected node
  edgectl debug bundle -o /media/usb/edge-7.tar.gz`
}

// Run lists what the bundle has, on standard error, and writes it.
func (d *debugBundle) Run(ctx context.Context, cli *cli, out program.Output) error {
	now := time.Now()
	name, sources, err := d.sources(cli, now)
	if err != nil {
		return err
	}
	list := out.Writer
	if !d.List {
		list = os.Stderr
	}
	if err := listSources(list, sources); err != nil || d.List {
		return err
	}
	manifest := bundle.Manifest{Node: name, Time: now, Version: program.Version()}
	if d.File == "-" {
		_, err := bundle.Write(ctx, out, manifest, sources)
		return err
	}
	if d.File == "" {
		d.File = fmt.Sprintf("edgekit-%s-%s.tar.gz", filepath.Base(name), now.UTC().Format("20060102-150405"))
	}
	manifest, err = writeBundle(ctx, d.File, manifest, sources)
	if err != nil {
		return err
	}
	return reportBundle(out, d.File, manifest)
}

func listSources(out io.Writer, sources []bundle.Source) error {
	t := printer.Table{Columns: []printer.Column{{Name: "FILE"}, {Name: "FROM"}, {Name: "AT MOST"}}}
	for _, s := range sources {
		most := s.Max
		if most == 0 {
			most = bundle.DefaultMax
		}
		t.Rows = append(t.Rows, printer.Row{Cells: []any{s.Name, s.From, size(int64(most))}})
	}
	return printer.Flags{}.Print(out, t, nil)
}

// writeBundle writes a file that is only there when it is whole, and that only its owner reads.
func writeBundle(ctx context.Context, name string, m bundle.Manifest, sources []bundle.Source) (bundle.Manifest, error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".edgekit-bundle-*") // 0600
	if err != nil {
		return m, &program.UsageError{Setting: "output", Reason: err.Error() + ": name a file in a folder that can be written"}
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails once the file has its name
	m, err = bundle.Write(ctx, f, m, sources)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return m, err
	}
	return m, os.Rename(f.Name(), name)
}

func reportBundle(out io.Writer, name string, m bundle.Manifest) error {
	var missing []string
	n := 0
	for _, e := range m.Entries {
		if e.Error != "" {
			missing = append(missing, e.Name+": "+e.Error)
		}
		if e.Bytes > 0 {
			n++
		}
	}
	text := fmt.Sprintf("%s: %d files", name, n)
	if len(missing) > 0 {
		text += "; not there: " + strings.Join(missing, "; ")
	}
	_, err := fmt.Fprintln(program.Plain(out), text)
	return err
}
