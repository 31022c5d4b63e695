package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/twin/devicesync"
)

// deviceSet sets desired values.
type deviceSet struct {
	spaceFlag
	Name    string        `arg:"" help:"The device."`
	Values  []string      `arg:"" name:"property=value" help:"What is desired, for example target=45."`
	Timeout time.Duration `help:"How long to wait for the node's answer. 0 does not wait." default:"30s"`
}

// Run changes the Device and waits for what its node says.
func (d *deviceSet) Run(ctx context.Context, cli *cli, out program.Output) error {
	desired, err := parseValues(d.Values)
	if err != nil {
		return err
	}
	cfg, err := cli.restConfig()
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return err
	}
	return d.set(ctx, client, desired, out)
}

// parseValues reads property=value. A name is up to the first =.
func parseValues(args []string) ([]schema.Property, error) {
	var out []schema.Property
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, &program.UsageError{Setting: "property=value", Reason: fmt.Sprintf("%q: want a property and its value, for example target=45", arg)}
		}
		out = append(out, schema.Property{Name: name, Desired: &schema.Value{Value: value}})
	}
	return out, nil
}

func (d *deviceSet) set(ctx context.Context, client dynamic.Interface, desired []schema.Property, out io.Writer) error {
	devices := client.Resource(v1beta1.GroupVersion().WithResource("devices")).Namespace(d.Space)
	// Without this, to apply would create the Device.
	old, err := devices.Get(ctx, d.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := old
	for _, p := range desired {
		if now, err = apply(ctx, devices, old, p); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	fmt.Fprintf(out, "device %s: generation %d\n", d.Name, now.GetGeneration())
	if d.Timeout <= 0 || now.GetGeneration() == old.GetGeneration() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	return d.answer(ctx, client, now.GetGeneration(), desired, out)
}

// apply sets the desired value of one property. Each property has a field manager of its own,
// so that what an earlier command set stays set.
func apply(ctx context.Context, devices dynamic.ResourceInterface, device *unstructured.Unstructured, p schema.Property) (*unstructured.Unstructured, error) {
	body, err := json.Marshal(map[string]any{
		"apiVersion": v1beta1.GroupVersion().String(), "kind": "Device",
		"metadata": map[string]any{"name": device.GetName(), "namespace": device.GetNamespace(), "uid": device.GetUID()},
		"spec":     map[string]any{"properties": []any{map[string]any{"name": p.Name, "desired": map[string]any{"value": p.Desired.Value}}}},
	})
	if err != nil {
		return nil, err
	}
	manager, force := "edgectl-"+p.Name, true
	return devices.Patch(ctx, device.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{
		FieldManager: manager[:min(len(manager), 128)], Force: &force, FieldValidation: metav1.FieldValidationStrict,
	})
}

// errNoAnswer is when the node says nothing in time.
var errNoAnswer = errors.New("the Device is changed, but its node has not answered: it may be offline, and gets the values when it returns")

// answer waits until the node has seen the generation, and prints what it says.
func (d *deviceSet) answer(ctx context.Context, client dynamic.Interface, generation int64, desired []schema.Property, out io.Writer) error {
	statuses := client.Resource(v1beta1.GroupVersion().WithResource("devicestatuses")).Namespace(d.Space)
	follow, err := statuses.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", d.Name).String()})
	if err != nil {
		return err
	}
	defer follow.Stop()
	for {
		select {
		case <-ctx.Done():
			return errNoAnswer
		case e, ok := <-follow.ResultChan():
			u, isObject := e.Object.(*unstructured.Unstructured)
			if !ok {
				return errNoAnswer
			}
			var status v1beta1.DeviceStatus
			if !isObject || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &status) != nil || status.Status.ObservedGeneration < generation {
				continue
			}
			return printAnswer(out, status, desired)
		}
	}
}

// printAnswer prints each property's values; a refusal is the error.
func printAnswer(out io.Writer, status v1beta1.DeviceStatus, desired []schema.Property) error {
	out = program.Plain(out)
	if c := apimeta.FindStatusCondition(status.Status.Conditions, devicesync.ConditionDesiredValid); c != nil && c.Status == metav1.ConditionFalse {
		return fmt.Errorf("the node refuses: %s: %s", c.Reason, c.Message)
	}
	for _, p := range desired {
		reported := "not reported"
		for _, t := range status.Status.Twins {
			if t.PropertyName == p.Name && t.Reported != nil {
				reported = "reported " + t.Reported.Value
			}
		}
		if _, err := fmt.Fprintf(out, "%s: desired %s, %s; the device is %s\n", p.Name, p.Desired.Value, reported, status.Status.State); err != nil {
			return err
		}
	}
	return nil
}
