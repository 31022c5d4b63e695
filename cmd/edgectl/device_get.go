package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/device/v1beta1"
)

// deviceGet lists devices with their values.
type deviceGet struct {
	spaceFlag
	objectFlags
}

// Run prints the live values, or where no cloudcore serves them what the DeviceStatuses have.
func (g *deviceGet) Run(ctx context.Context, cli *cli, out program.Output) error {
	if err := g.check(); err != nil {
		return err
	}
	client, err := cli.restClient()
	if err != nil {
		return err
	}
	raw, err := read(ctx, client, twinsPath(g.Space, g.Name, g.All), g.accept())
	if notServed(err) {
		raw, err = read(ctx, client, objectsPath(devicesBase(), "devicestatuses", g.Space, g.Name, g.All), g.accept())
	}
	if err != nil {
		return err
	}
	return g.print(out, "devices", raw)
}

// restClient asks for paths of the API server.
func (c *cli) restClient() (rest.Interface, error) {
	cfg, err := c.restConfig()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return client.RESTClient(), nil
}

// twinsPath is the path of live values.
func twinsPath(namespace, name string, all bool) string {
	return objectsPath("/apis/"+twins.Group+"/"+twins.Version, twins.Resource, namespace, name, all)
}

// devicesBase is the path of the group of Devices.
func devicesBase() string { return "/apis/" + v1beta1.GroupVersion().String() }

func read(ctx context.Context, client rest.Interface, path, accept string) ([]byte, error) {
	return client.Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(ctx)
}

// notServed reports whether no cloudcore serves live values: the group is not there, or does
// not answer. A device that is not there has a name in the details.
func notServed(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	s := status.Status()
	return s.Code == 503 || s.Code == 404 && (s.Details == nil || s.Details.Name == "")
}

// deviceWatch prints values as they come.
type deviceWatch struct {
	spaceFlag
	Name string `arg:"" optional:"" help:"Print only the device of this name."`
	All  bool   `help:"Print the devices of all namespaces." short:"A"`
}

// Run prints a line for each report until ctx ends. The server ends a watch after half an hour
// or more; the next one prints the head and all devices again.
func (d *deviceWatch) Run(ctx context.Context, cli *cli, out program.Output) error {
	client, err := cli.restClient()
	if err != nil {
		return err
	}
	for {
		err := d.watch(ctx, client, out)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// watch prints the events of one watch; nil when the server ends it.
func (d *deviceWatch) watch(ctx context.Context, client rest.Interface, out io.Writer) error {
	request := client.Get().AbsPath(twinsPath(d.Space, "", d.All)).SetHeader("Accept", asTable).Param("watch", "1")
	if d.Name != "" {
		request = request.Param("fieldSelector", "metadata.name="+d.Name)
	}
	stream, err := request.Stream(ctx)
	if notServed(err) {
		return fmt.Errorf("no cloudcore serves live values: start one with --twins-listen and apply what 'edgectl manifest --twins' prints; 'kubectl get devices -o wide -w' shows what is written once a second: %w", err)
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	return printEvents(out, stream)
}

// printEvents prints the rows of a watch's events, the head first.
func printEvents(out io.Writer, stream io.Reader) error {
	out = program.Plain(out)
	const form = "%-24v %-16v %-10v %v\n"
	fmt.Fprintf(out, form, "NAME", "NODE", "STATE", "VALUES")
	events := json.NewDecoder(stream)
	for {
		var e struct {
			Type   string
			Object json.RawMessage
		}
		if err := events.Decode(&e); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch e.Type {
		case "BOOKMARK":
			continue
		case "ERROR":
			var status metav1.Status
			if err := json.Unmarshal(e.Object, &status); err != nil {
				return err
			}
			return &apierrors.StatusError{ErrStatus: status}
		}
		var t metav1.Table
		if err := json.Unmarshal(e.Object, &t); err != nil {
			return err
		}
		for _, r := range t.Rows {
			if len(r.Cells) < 5 {
				continue
			}
			values := r.Cells[4]
			if e.Type == "DELETED" {
				values = "(deleted)"
			}
			if _, err := fmt.Fprintf(out, form, r.Cells[0], r.Cells[1], r.Cells[2], values); err != nil {
				return err
			}
		}
	}
}
