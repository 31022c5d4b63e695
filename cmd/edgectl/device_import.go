package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device/edgexprofile"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/device/wot"
)

type deviceImport struct {
	spaceFlag
	File   string `arg:"" help:"A W3C Thing Description (JSON) or a device profile of EdgeX (YAML or JSON); - is standard input."`
	From   string `help:"What the file is: wot, edgex, or auto, which looks." enum:"auto,wot,edgex" default:"auto"`
	Name   string `help:"Name of the DeviceModel. Default: from the file's title or name." placeholder:"NAME"`
	Device string `help:"Also print a Device of this name." placeholder:"NAME"`
	Node   string `help:"Edge node of that Device." placeholder:"NODE"`
}

// Run prints DeviceModel and Device, and on standard error what was lost.
func (d *deviceImport) Run(_ context.Context, out program.Output) error {
	if d.Node != "" && d.Device == "" {
		return &program.UsageError{Setting: "node", Reason: "needs --device: a DeviceModel belongs to no node"}
	}
	text, err := readInput(d.File)
	if err != nil {
		return err
	}
	thing, err := d.decode(text)
	if err != nil {
		return &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", d.File, err)}
	}
	name := cmp.Or(d.Name, thing.Name)
	objects := []any{object("DeviceModel", d.Space, name, thing.Model)}
	if d.Device != "" {
		thing.Device.ModelRef.Name, thing.Device.NodeName = name, d.Node
		objects = append(objects, object("Device", d.Space, d.Device, thing.Device))
	}
	for n, o := range objects {
		body, err := sigsyaml.Marshal(o)
		if err != nil {
			return err
		}
		if n > 0 {
			body = append([]byte("---\n"), body...)
		}
		if _, err := out.Write(body); err != nil {
			return err
		}
	}
	printNotes(thing.Lost)
	return nil
}

// object is a resource without the fields that only the API server sets.
func object(kind, namespace, name string, spec any) any {
	return struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   map[string]string `json:"metadata"`
		Spec       any               `json:"spec"`
	}{v1beta1.GroupVersion().String(), kind, map[string]string{"name": name, "namespace": namespace}, spec}
}

// decode reads the file as what it is.
func (d *deviceImport) decode(text []byte) (wot.Thing, error) {
	from := d.From
	if from == "auto" {
		from = "edgex"
		if bytes.Contains(text, []byte("www.w3.org/20")) && bytes.Contains(text, []byte("@context")) {
			from = "wot"
		}
	}
	if from == "wot" {
		return wot.Decode(text)
	}
	profile, err := edgexprofile.Decode(text)
	thing := wot.Thing{Name: profile.Name, Model: profile.Model, Device: profile.Device}
	for _, l := range profile.Lost {
		thing.Lost = append(thing.Lost, wot.Loss(l))
	}
	return thing, err
}

type deviceExport struct {
	File string `arg:"" help:"YAML or JSON with a DeviceModel, and a Device of it if there is one; - is standard input."`
}

// Run prints a Thing Description, and on standard error what was lost.
func (d *deviceExport) Run(_ context.Context, out program.Output) error {
	text, err := readInput(d.File)
	if err != nil {
		return err
	}
	thing, err := readThing(text)
	if err != nil {
		return &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", d.File, err)}
	}
	td, lost, err := wot.Encode(thing)
	if err != nil {
		return &program.UsageError{Setting: "file", Reason: fmt.Sprintf("%s: %v", d.File, err)}
	}
	if _, err := out.Write(td); err != nil {
		return err
	}
	printNotes(lost)
	return nil
}

// readThing finds a DeviceModel and at most one Device of it.
func readThing(text []byte) (wot.Thing, error) {
	var thing wot.Thing
	models, devices := 0, 0
	modelName := ""
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		var object struct {
			Kind     string                `json:"kind"`
			Metadata struct{ Name string } `json:"metadata"`
			Spec     schema.Options        `json:"spec"`
		}
		err := decoder.Decode(&object)
		if err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return thing, err
		}
		switch object.Kind {
		case "DeviceModel":
			models++
			modelName = object.Metadata.Name
			err = object.Spec.Decode(&thing.Model)
		case "Device":
			devices++
			thing.Name = object.Metadata.Name
			err = object.Spec.Decode(&thing.Device)
		}
		if err != nil {
			return thing, fmt.Errorf("%s %s: %w", object.Kind, object.Metadata.Name, err)
		}
	}
	switch {
	case models != 1 || devices > 1:
		return thing, errors.New("want one DeviceModel, and at most one Device of it")
	case devices == 0:
		thing.Name = modelName
	case thing.Device.ModelRef.Name != modelName:
		return thing, fmt.Errorf("the Device is of the model %q, the file has %q", thing.Device.ModelRef.Name, modelName)
	}
	return thing, nil
}
