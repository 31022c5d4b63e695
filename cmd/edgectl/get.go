package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// asTable asks the API for what people read.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io"

// objectFlags say which objects are printed, and in which form.
type objectFlags struct {
	Name string `arg:"" optional:"" help:"Print only the object of this name."`
	All  bool   `help:"List the objects of all namespaces." short:"A"`
	printer.Flags
}

func (f *objectFlags) check() error {
	if f.All && f.Name != "" {
		return &program.UsageError{Setting: "all", Reason: "one object has one namespace: name that with --in"}
	}
	return nil
}

// accept is what the API is asked for.
func (f *objectFlags) accept() string {
	if f.Structured() {
		return "application/json"
	}
	return asTable
}

// print prints what the API gave. resource is that of --output name.
func (f *objectFlags) print(out io.Writer, resource string, raw json.RawMessage) error {
	if f.Structured() {
		return f.PrintObject(out, raw)
	}
	var t metav1.Table
	if err := json.Unmarshal(raw, &t); err != nil {
		return err
	}
	return f.Print(out, fromTable(resource, &t), nil)
}

// fromTable is a table of an API server. Columns with a priority are those of --output wide.
func fromTable(resource string, from *metav1.Table) printer.Table {
	var t printer.Table
	for _, c := range from.ColumnDefinitions {
		t.Columns = append(t.Columns, printer.Column{Name: strings.ToUpper(c.Name), Wide: c.Priority > 0})
	}
	for _, r := range from.Rows {
		row := printer.Row{Cells: r.Cells}
		var object metav1.PartialObjectMetadata
		if json.Unmarshal(r.Object.Raw, &object) == nil && object.Name != "" { // servers may leave it out
			row.Name = resource + "/" + object.Name
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// getCmd lists what the node holds.
type getCmd struct {
	localFlags
	Resource string `arg:"" help:"pods, nodes, configmaps, services, events, devices ..."`
	objectFlags
}

// Run prints a line for each object, or the objects.
func (g *getCmd) Run(ctx context.Context, out program.Output) error {
	if err := g.check(); err != nil {
		return err
	}
	var raw json.RawMessage
	if err := g.read(ctx, "api.sock", g.path(), g.accept(), &raw); err != nil {
		return err
	}
	return g.print(out, g.resource(), raw)
}

// resource is the plural name of what is listed.
func (g *getCmd) resource() string {
	resource := map[string]string{
		"po": "pods", "pod": "pods", "no": "nodes", "node": "nodes", "cm": "configmaps", "configmap": "configmaps", "secret": "secrets",
		"svc": "services", "service": "services", "ev": "events", "event": "events", "device": "devices", "devicemodel": "devicemodels",
	}[g.Resource]
	return cmp.Or(resource, g.Resource)
}

func (g *getCmd) path() string {
	resource := g.resource()
	base := "/api/v1"
	if strings.HasPrefix(resource, "device") {
		base = devicesBase()
	}
	return objectsPath(base, resource, g.Space, g.Name, g.All || resource == "nodes")
}

// objectsPath is the path of objects below that of their group and version: of one that has a
// name, of those of a namespace, or of all.
func objectsPath(base, resource, namespace, name string, all bool) string {
	path := base
	if !all {
		path += "/namespaces/" + url.PathEscape(namespace)
	}
	path += "/" + url.PathEscape(resource)
	if name != "" {
		path += "/" + url.PathEscape(name)
	}
	return path
}

// columns aligns cells that are separated by tabs, until Flush. They are printed as plain text.
func columns(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(program.Plain(out), 0, 0, 3, ' ', 0)
}

// describeCmd prints everything about a pod of this machine, or about a node.
type describeCmd struct {
	printer.Flags
	scopeFlags
	Space string `help:"Namespace of the pod." short:"n" name:"in" default:"default" placeholder:"NAMESPACE"`
	Kind  string `arg:"" help:"What to describe: pod, of this machine, or node." enum:"pod,node"`
	Name  string `arg:"" optional:"" help:"The name. The node on this machine needs none."`
}

// Help is more about the command.
func (d *describeCmd) Help() string {
	return `  edgectl describe node                 at an edge node: the node itself, with or without the cloud
  edgectl describe pod web --in shop    at an edge node: one of its pods
  edgectl describe node edge-7 --fleet  anywhere with a kubeconfig: the life of one node`
}

// Run prints what an operator asks.
func (d *describeCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	switch {
	case d.Kind == "node":
		return d.describeNode(ctx, cli, out)
	case d.Name == "":
		return &program.UsageError{Setting: "in", Reason: "give the pod's name: edgectl describe pod NAME --in " + d.Space}
	case d.Fleet:
		return &program.UsageError{Setting: "fleet", Reason: "pods are described at their node; elsewhere use kubectl describe pod " + d.Name + " -n " + d.Space}
	}
	return d.describePod(ctx, d.sockets(d.Space), out)
}

// describePod prints a pod, its events last.
func (d *describeCmd) describePod(ctx context.Context, node *localFlags, out io.Writer) error {
	if d.Structured() {
		var raw json.RawMessage
		if err := node.read(ctx, "api.sock", node.podPath(d.Name, "", nil), "application/json", &raw); err != nil {
			return err
		}
		return d.PrintObject(out, raw)
	}
	var pod corev1.Pod
	if err := node.read(ctx, "api.sock", node.podPath(d.Name, "", nil), "", &pod); err != nil {
		return err
	}
	w := tabwriter.NewWriter(program.Plain(out), 0, 0, 2, ' ', 0)
	line := func(name string, value any) { fmt.Fprintf(w, "%s:\t%v\n", name, value) }
	line("Name", pod.Name)
	line("Namespace", pod.Namespace)
	line("UID", pod.UID)
	line("Node", pod.Spec.NodeName)
	line("Status", strings.TrimSpace(string(pod.Status.Phase)+" "+pod.Status.Reason+" "+pod.Status.Message))
	line("IP", pod.Status.PodIP)
	if pod.Status.StartTime != nil {
		line("Started", pod.Status.StartTime.Local().Format(time.DateTime))
	}
	if pod.DeletionTimestamp != nil {
		line("Terminating", "since "+pod.DeletionTimestamp.Local().Format(time.DateTime))
	}
	for _, c := range pod.Status.Conditions {
		line("Condition "+string(c.Type), strings.TrimSpace(string(c.Status)+" "+c.Reason+" "+c.Message))
	}
	for _, st := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses) {
		line("Container "+st.Name, fmt.Sprintf("%s, ready %t, restarts %d, image %s", containerState(st.State), st.Ready, st.RestartCount, st.Image))
		if t := st.LastTerminationState.Terminated; t != nil {
			line("  before", containerState(st.LastTerminationState))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var events metav1.Table
	query := url.Values{"fieldSelector": {"involvedObject.name=" + d.Name}}
	if err := node.read(ctx, "api.sock", "/api/v1/namespaces/"+url.PathEscape(d.Space)+"/events?"+query.Encode(), asTable, &events); err != nil {
		return err
	}
	if len(events.Rows) == 0 {
		return nil
	}
	fmt.Fprintln(out, "Events that the cloud does not have yet:")
	return printer.Flags{}.Print(out, fromTable("events", &events), nil)
}

func containerState(s corev1.ContainerState) string {
	switch {
	case s.Running != nil:
		return "running since " + s.Running.StartedAt.Local().Format(time.DateTime)
	case s.Terminated != nil:
		return fmt.Sprintf("ended with %d (%s) at %s", s.Terminated.ExitCode, s.Terminated.Reason, s.Terminated.FinishedAt.Local().Format(time.DateTime))
	case s.Waiting != nil:
		return strings.TrimSpace("waits: " + s.Waiting.Reason + " " + s.Waiting.Message)
	}
	return "unknown"
}

// topCmd prints the CPU and memory of the node and its pods.
type topCmd struct {
	localFlags
	printer.Flags
}

// Run prints the node first, then its pods. JSON and YAML are the kubelet's summary.
func (t *topCmd) Run(ctx context.Context, out program.Output) error {
	first, err := t.summary(ctx)
	if err != nil {
		return err
	}
	select { // the machine's CPU rate takes two readings
	case <-time.After(time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	sum, err := t.summary(ctx)
	if err != nil {
		return err
	}
	if t.Structured() {
		return t.PrintObject(out, sum)
	}
	return printTop(out, first, sum)
}

func (t *topCmd) summary(ctx context.Context) (*statsapi.Summary, error) {
	var s statsapi.Summary
	return &s, t.read(ctx, "kubelet.sock", "/stats/summary", "", &s)
}

func printTop(out io.Writer, before, now *statsapi.Summary) error {
	w := columns(out)
	fmt.Fprintf(w, "NODE\tCPU\tMEMORY\n%s\t%s\t%s\n\n", now.Node.NodeName, rate(before.Node.CPU, now.Node.CPU), mebibytes(now.Node.Memory))
	old := make(map[string]*statsapi.CPUStats)
	for _, p := range before.Pods {
		old[p.PodRef.UID] = p.CPU
	}
	fmt.Fprintln(w, "NAMESPACE\tPOD\tCPU\tMEMORY")
	for _, p := range now.Pods {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.PodRef.Namespace, p.PodRef.Name, rate(old[p.PodRef.UID], p.CPU), mebibytes(p.Memory))
	}
	return w.Flush()
}

// rate is in thousandths of a core.
func rate(before, now *statsapi.CPUStats) string {
	if before == nil || now == nil || before.UsageCoreNanoSeconds == nil || now.UsageCoreNanoSeconds == nil {
		return "unknown"
	}
	passed := now.Time.Sub(before.Time.Time).Seconds()
	if passed <= 0 || *now.UsageCoreNanoSeconds < *before.UsageCoreNanoSeconds {
		return "unknown"
	}
	return fmt.Sprintf("%.0fm", float64(*now.UsageCoreNanoSeconds-*before.UsageCoreNanoSeconds)/passed/1e6)
}

func mebibytes(m *statsapi.MemoryStats) string {
	if m == nil || m.WorkingSetBytes == nil {
		return "unknown"
	}
	return fmt.Sprintf("%dMi", *m.WorkingSetBytes>>20)
}
