package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// fromNode begins the name of a node in place of that of a file.
const fromNode = "node/"

type deviceAdopt struct {
	spaceFlag
	File     string   `arg:"" help:"What mappers have found: node/NODE asks that node, which must be connected; or a file with a message of the topic $$hw/events/node/NODE/proposed/PROTOCOL, or with a list of proposals in JSON; - is the input."`
	Names    []string `arg:"" name:"name" optional:"" help:"Names of the devices to adopt. Without one, and without --all, they are listed."`
	All      bool     `help:"Adopt all that were found, or all that --selector selects. Those whose name a declared device has are left out."`
	Selector string   `help:"Only devices with these labels, for example vendor=acme." short:"l" placeholder:"LABELS"`
	Protocol string   `help:"Only devices of this protocol."`
	Node     string   `help:"Edge node that the devices hang on. Default: NODE of node/NODE."`
	Model    string   `help:"DeviceModel of devices whose proposal names none."`
}

// Run lists proposals, or prints the Devices for kubectl apply.
func (d *deviceAdopt) Run(ctx context.Context, cli *cli, out program.Output) error {
	list, err := d.proposals(ctx, cli)
	if err != nil {
		return err
	}
	if list, err = d.selected(list); err != nil {
		return err
	}
	if len(d.Names) == 0 && !d.All {
		plain := program.Plain(out)
		for _, p := range list {
			fmt.Fprintf(plain, "%s\t%s\t%s\t%s\n", p.Name, p.Protocol.Name, p.Model, p.Description)
		}
		return nil
	}
	if d.Node == "" {
		d.Node = strings.TrimPrefix(d.File, fromNode)
		if d.Node == d.File {
			return &program.UsageError{Setting: "node", Reason: "name the edge node that the devices hang on"}
		}
	}
	if list, err = d.named(list); err != nil {
		return err
	}
	if strings.HasPrefix(d.File, fromNode) {
		if list, err = d.undeclared(ctx, cli, list, program.Plain(os.Stderr)); err != nil {
			return err
		}
	}
	for i, p := range list { // all or none: kubectl applies what is printed
		if list[i].Model = cmp.Or(p.Model, d.Model); list[i].Model == "" {
			return &program.UsageError{Setting: "model", Reason: fmt.Sprintf("the proposal of %s names no DeviceModel: name one", p.Name)}
		}
	}
	for _, p := range list {
		if err := d.print(out, p); err != nil {
			return err
		}
	}
	return nil
}

// proposals reads what was found.
func (d *deviceAdopt) proposals(ctx context.Context, cli *cli) ([]device.Proposal, error) {
	node, asked := strings.CutPrefix(d.File, fromNode)
	if !asked {
		text, err := readInput(d.File)
		if err != nil {
			return nil, err
		}
		list, err := readProposals(text)
		if err != nil {
			return nil, &program.UsageError{Setting: "file", Reason: err.Error()}
		}
		return list, nil
	}
	if len(validation.IsDNS1123Subdomain(node)) > 0 {
		return nil, &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%.80q is not the name of a node", node)}
	}
	f, err := cli.fleet()
	if err != nil {
		return nil, err
	}
	return f.found(ctx, node)
}

// found asks a node what its mappers have found.
func (f *fleet) found(ctx context.Context, node string) ([]device.Proposal, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeAnswer)
	defer cancel()
	in, err := f.proxy(ctx, node, nodestate.PathFound)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, maxDocument)) // a node may be hostile
	if err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	var found nodestate.Found
	if err := jsonlimit.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	var list []device.Proposal
	for _, l := range found.Lists {
		for _, raw := range l.Devices {
			var p device.Proposal
			if err := jsonlimit.Unmarshal(raw, &p); err != nil {
				return nil, fmt.Errorf("the node's answer: %w", err)
			}
			if len(validation.IsDNS1123Subdomain(p.Name)) > 0 {
				return nil, fmt.Errorf("the node's answer: %.80q cannot be the name of a device", p.Name)
			}
			list = append(list, p)
		}
		if l.Dropped > 0 {
			fmt.Fprintf(program.Plain(os.Stderr), "the node has no room for %d more devices that were found, of protocol %q: adopt some, and look again\n", l.Dropped, l.Protocol)
		}
	}
	return list, nil
}

// selected leaves out what the flags do not select.
func (d *deviceAdopt) selected(list []device.Proposal) ([]device.Proposal, error) {
	selector, err := labels.Parse(d.Selector)
	if err != nil {
		return nil, &program.UsageError{Setting: "selector", Reason: err.Error()}
	}
	return slices.DeleteFunc(list, func(p device.Proposal) bool {
		return !selector.Matches(labels.Set(p.Labels)) || d.Protocol != "" && d.Protocol != p.Protocol.Name
	}), nil
}

// named returns the proposals to adopt.
func (d *deviceAdopt) named(list []device.Proposal) ([]device.Proposal, error) {
	if len(d.Names) == 0 {
		return list, nil
	}
	if d.All {
		return nil, &program.UsageError{Setting: "all", Reason: "it adopts all: name no devices beside it"}
	}
	byName := make(map[string][]device.Proposal)
	for _, p := range list {
		byName[p.Name] = append(byName[p.Name], p)
	}
	var out []device.Proposal
	for _, name := range d.Names {
		switch found := byName[name]; len(found) {
		case 0:
			return nil, &program.UsageError{Setting: "name", Reason: fmt.Sprintf("%q is not proposed", name)}
		case 1:
			out = append(out, found[0])
		default:
			return nil, &program.UsageError{Setting: "name", Reason: fmt.Sprintf("mappers of several protocols have found %q: add --protocol", name)}
		}
	}
	return out, nil
}

// undeclared leaves out the proposals with the name of a device that is declared: kubectl apply would
// move that one to the node that proposes, which may be hostile. Of devices that were named that is an
// error.
func (d *deviceAdopt) undeclared(ctx context.Context, cli *cli, list []device.Proposal, notes io.Writer) ([]device.Proposal, error) {
	f, err := cli.fleet()
	if err != nil {
		return nil, err
	}
	declared, err := f.declared(ctx, d.Space)
	if err != nil {
		return nil, fmt.Errorf("which devices are declared in namespace %s (this needs the right to list them): %w", d.Space, err)
	}
	return d.without(declared, list, notes)
}

// without is undeclared with what is declared.
func (d *deviceAdopt) without(declared map[string]bool, list []device.Proposal, notes io.Writer) (out []device.Proposal, err error) {
	for _, p := range list {
		switch {
		case !declared[p.Name]:
			out = append(out, p)
		case d.All:
			fmt.Fprintf(notes, "%q is left out: namespace %s has a device of that name\n", p.Name, d.Space)
		default:
			return nil, &program.UsageError{Setting: "name", Reason: fmt.Sprintf("namespace %s has a device %q, which would be replaced: delete that one first, or use another namespace with --in", d.Space, p.Name)}
		}
	}
	return out, nil
}

// declared returns the names of the devices of a namespace.
func (f *fleet) declared(ctx context.Context, space string) (map[string]bool, error) {
	names := make(map[string]bool)
	for next := ""; ; {
		text, err := f.raw.Get().AbsPath("/apis/devices.kubeedge.io/v1beta1/namespaces", space, "devices").
			Param("limit", strconv.FormatInt(f.page, 10)).Param("continue", next).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var page metav1.PartialObjectMetadataList
		if err := json.Unmarshal(text, &page); err != nil {
			return nil, err
		}
		for i := range page.Items {
			names[page.Items[i].Name] = true
		}
		if next = page.Continue; next == "" {
			return names, nil
		}
	}
}

// readProposals reads a message with proposals, or a list of them.
func readProposals(text []byte) (list []device.Proposal, err error) {
	if text = bytes.TrimSpace(text); bytes.HasPrefix(text, []byte("{")) {
		var m topics.ProposalsMessage
		if err := jsonlimit.Unmarshal(text, &m); err != nil {
			return nil, err
		}
		text = m.Proposals
	}
	if len(text) == 0 {
		return nil, errors.New("it has no proposals")
	}
	return list, jsonlimit.Unmarshal(text, &list)
}

// print prints a Device.
func (d *deviceAdopt) print(out program.Output, p device.Proposal) error {
	spec := p.Spec(schema.DeviceModelSpec{})
	spec.NodeName = d.Node
	text, err := yaml.Marshal(object("Device", d.Space, p.Name, spec))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "---\n%s", text)
	return err
}
