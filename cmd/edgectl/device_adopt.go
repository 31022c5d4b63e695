package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

type deviceAdopt struct {
	spaceFlag
	File  string   `arg:"" help:"What a mapper has proposed: a message of the topic $$hw/events/node/NODE/proposed/PROTOCOL, or a list of proposals in JSON; - is the input."`
	Names []string `arg:"" name:"name" optional:"" help:"Names of the proposals to adopt. Without one they are listed."`
	Node  string   `help:"Edge node that the devices hang on."`
	Model string   `help:"DeviceModel of devices whose proposal names none."`
}

// Run lists proposals, or prints the Devices for kubectl apply.
func (d *deviceAdopt) Run(_ context.Context, out program.Output) error {
	text, err := readInput(d.File)
	if err != nil {
		return err
	}
	list, err := readProposals(text)
	if err != nil {
		return &program.UsageError{Setting: "file", Reason: err.Error()}
	}
	if len(d.Names) == 0 {
		plain := program.Plain(out)
		for _, p := range list {
			fmt.Fprintf(plain, "%s\t%s\t%s\t%s\n", p.Name, p.Protocol.Name, p.Model, p.Description)
		}
		return nil
	}
	if d.Node == "" {
		return &program.UsageError{Setting: "node", Reason: "name the edge node that the devices hang on"}
	}
	byName := make(map[string]device.Proposal)
	for _, p := range list {
		byName[p.Name] = p
	}
	for _, name := range d.Names {
		p, ok := byName[name]
		if !ok {
			return &program.UsageError{Setting: "name", Reason: fmt.Sprintf("%q is not proposed", name)}
		}
		if p.Model == "" {
			p.Model = d.Model
		}
		if p.Model == "" {
			return &program.UsageError{Setting: "model", Reason: fmt.Sprintf("the proposal of %s names no DeviceModel: name one", name)}
		}
		if err := d.print(out, p); err != nil {
			return err
		}
	}
	return nil
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
