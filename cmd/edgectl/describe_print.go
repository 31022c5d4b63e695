package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// lines writes "Name: value" lines, aligned.
type lines struct {
	w   *tabwriter.Writer
	now time.Time
}

func newLines(out io.Writer, now time.Time) lines {
	return lines{tabwriter.NewWriter(program.Plain(out), 0, 0, 2, ' ', 0), now}
}

// add writes a line unless there is nothing to say. Text of others stays on its line.
func (l lines) add(name string, value any) {
	text := fmt.Sprint(value)
	if at, ok := value.(time.Time); ok {
		text = ""
		if !at.IsZero() {
			text = fmt.Sprintf("%s (%s)", printer.Age(at, l.now), at.Local().Format(time.DateTime))
		}
	}
	if text = strings.Join(strings.Fields(text), " "); text != "" {
		fmt.Fprintf(l.w, "%s:\t%s\n", name, text)
	}
}

func (d *describeCmd) printNode(out io.Writer, n *nodeDescription) error {
	if d.Structured() {
		return d.PrintObject(out, n)
	}
	l := newLines(out, n.Time)
	l.add("Name", n.Name)
	l.add("Site", n.Site)
	l.add("Version", n.Version)
	l.add("Registered", n.Created)
	l.add("Link", strings.TrimSpace(n.Link+" "+n.LinkReason))
	l.add("  since", n.LinkSince)
	l.add("  cloudcore", n.Cloudcore)
	l.add("  session", n.Session)
	l.add("  lease renewed", n.Renewed)
	if s := n.Status; s != nil {
		l.add("  transport", s.Link.Transport)
		l.add("  round trip", s.Link.RoundTrip)
	}
	l.add("Autonomy", n.Autonomy)
	if i := n.Identity; i != nil {
		l.add("Identity", i.State)
		l.add("  certificate ends", i.CertificateEnds)
		l.add("  key", i.KeyHash)
	}
	l.add("Addresses", strings.Join(n.Addresses, ", "))
	l.add("Taints", strings.Join(n.Taints, ", "))
	if p := n.Pods; p != nil {
		l.add("Pods", fmt.Sprintf("%d, %d ready, %d finished", p.Total, p.Ready, p.Finished))
	}
	if v := n.Devices; v != nil {
		l.add("Devices", strings.TrimSuffix(fmt.Sprintf("%d: %s", v.Total, deviceStates(*v)), ": "))
	}
	for _, j := range n.Jobs {
		l.add("Job "+j.Job, strings.Join([]string{j.Kind, cmp.Or(j.Phase, "not begun"), j.Reason, printer.Age(j.Time, n.Time)}, " "))
	}
	if err := l.w.Flush(); err != nil {
		return err
	}
	if err := printConditions(out, n.Conditions, n.Time); err != nil {
		return err
	}
	if n.Pods != nil {
		if err := printNotReady(out, n.Pods.NotReady, n.Time); err != nil {
			return err
		}
	}
	if n.Status != nil {
		fmt.Fprintln(out, "\nWhat the node says:")
		if err := printItems(out, nodeItems(n.Status, n.Time), n.Time); err != nil {
			return err
		}
	}
	if len(n.Events) > 0 {
		fmt.Fprintln(out, "\nLast events (all: edgectl events --fleet --node "+program.PlainText(n.Name)+"):")
		if err := (printer.Flags{}).Print(out, eventsTable(n.Events, n.Time), nil); err != nil {
			return err
		}
	}
	return printUnknown(out, n.Unknown)
}

func printItems(out io.Writer, items []item, now time.Time) error {
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "ITEM"}, {Name: "STATE"}, {Name: "DETAIL"}}}
	for _, i := range items {
		t.Rows = append(t.Rows, printer.Row{Name: "item/" + i.name, Cells: []any{i.name, i.state, i.detail}, Level: i.level})
	}
	return printer.Flags{}.Print(out, t, nil)
}

func printConditions(out io.Writer, conditions []nodeCondition, now time.Time) error {
	if len(conditions) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "CONDITION"}, {Name: "STATUS"}, {Name: "SINCE"}, {Name: "REASON"}, {Name: "MESSAGE"}}}
	for _, c := range conditions {
		t.Rows = append(t.Rows, printer.Row{Cells: []any{c.Type, c.Status, c.Since, c.Reason, c.Message}})
	}
	return printer.Flags{}.Print(out, t, nil)
}

func printNotReady(out io.Writer, pods []nodestate.Pod, now time.Time) error {
	if len(pods) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "POD NOT READY"}, {Name: "NAMESPACE"}, {Name: "PHASE"}, {Name: "SINCE"}, {Name: "RESTARTS"}, {Name: "REASON"}, {Name: "MESSAGE"}}}
	for _, p := range pods {
		t.Rows = append(t.Rows, printer.Row{Level: printer.LevelWarning, Cells: []any{p.Name, p.Namespace, p.Phase, p.Since, p.Restarts, p.Reason, p.Message}})
	}
	return printer.Flags{}.Print(out, t, nil)
}

func printUnknown(out io.Writer, unknown []string) error {
	t := printer.Table{Columns: []printer.Column{{}}}
	for _, u := range unknown {
		t.Rows = append(t.Rows, printer.Row{Cells: []any{"Not known: " + u}})
	}
	if len(t.Rows) > 0 {
		fmt.Fprintln(out)
	}
	return printer.Flags{NoHeaders: true}.Print(out, t, nil)
}

// describeLocalNode prints the node on this machine: its status, the Node as its store has it, and
// its events.
func (d *describeCmd) describeLocalNode(ctx context.Context, out io.Writer, now time.Time) error {
	status := statusCmd{Flags: d.Flags, scopeFlags: d.scopeFlags, Certificate: defaultCertificateWarning}
	local, err := status.readLocal(ctx, thisHost(), now)
	if err != nil {
		return err
	}
	if d.Name != "" && local.Node != nil && d.Name != local.Node.Node {
		return &program.UsageError{Setting: "fleet", Reason: fmt.Sprintf("this machine is node %s: use --fleet for %s", local.Node.Node, d.Name)}
	}
	if d.Structured() {
		return d.PrintObject(out, local)
	}
	if err := status.printLocal(out, local); err != nil || local.Node == nil {
		return err
	}
	var node corev1.Node
	if err := d.sockets("").read(ctx, "api.sock", "/api/v1/nodes/"+url.PathEscape(local.Node.Node), "application/json", &node); err == nil {
		var n nodeDescription
		n.node(&node)
		if err := printConditions(out, n.Conditions, now); err != nil {
			return err
		}
	} else {
		local.Unknown = append(local.Unknown, "the Node: "+err.Error())
	}
	if err := printNotReady(out, local.Node.Pods.NotReady, now); err != nil {
		return err
	}
	kept := &newest{limit: lastEvents}
	if _, err := localEvents(d.sockets("")).list(ctx, func(e *corev1.Event) { kept.add(eventOf(e)) }); err != nil {
		return printUnknown(out, []string{"events: " + err.Error()})
	}
	fmt.Fprintln(out, "\nLast events that the node still has (all: edgectl events):")
	return printer.Flags{}.Print(out, eventsTable(kept.sorted(), now), nil)
}
