package main

import (
	"cmp"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/cmd/edgectl/internal/printer"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// eventsCmd lists events of edge nodes and of what runs on them.
type eventsCmd struct {
	printer.Flags
	scopeFlags
	Node  string        `help:"Only events of this node: about it, or from it." placeholder:"NAME"`
	Since time.Duration `help:"Only events that were seen within this time; 0 is all that there are." default:"1h" placeholder:"TIME"`
	Watch bool          `help:"Go on, and print events as they come." short:"w"`
	Limit int           `help:"How many events are listed, the newest; 0 lists all." default:"200" placeholder:"N"`
}

// Help is more about the command.
func (e *eventsCmd) Help() string {
	return `  edgectl events                            at an edge node: its events that the node still has
  edgectl events --fleet --since 15m        of all edge nodes
  edgectl events --fleet --node edge-7 -w   of one node, as they come`
}

// event is the JSON of an event.
type event struct {
	Time      time.Time `json:"time"` // when it was seen last
	Type      string    `json:"type"` // Normal or Warning
	Reason    string    `json:"reason"`
	Object    string    `json:"object"` // KIND/NAME
	Namespace string    `json:"namespace,omitempty"`
	Node      string    `json:"node,omitempty"` // the one that reported it
	Count     int       `json:"count"`
	Message   string    `json:"message"`
}

func eventOf(e *corev1.Event) event {
	out := event{
		Time: cmp.Or(e.LastTimestamp.Time, e.EventTime.Time, e.FirstTimestamp.Time, e.CreationTimestamp.Time), Type: e.Type, Reason: e.Reason,
		Object: e.InvolvedObject.Kind + "/" + e.InvolvedObject.Name, Namespace: e.InvolvedObject.Namespace, Node: e.Source.Host, Count: max(int(e.Count), 1), Message: e.Message,
	}
	if e.Series != nil {
		out.Time, out.Count = e.Series.LastObservedTime.Time, int(e.Series.Count)
	}
	if out.Node == "" && e.InvolvedObject.Kind == "Node" {
		out.Node = e.InvolvedObject.Name
	}
	return out
}

// newest keeps the newest events of many: a heap with the oldest at its root.
type newest struct {
	limit  int
	events []event
}

func (n *newest) Len() int           { return len(n.events) }
func (n *newest) Less(i, j int) bool { return n.events[i].Time.Before(n.events[j].Time) }
func (n *newest) Swap(i, j int)      { n.events[i], n.events[j] = n.events[j], n.events[i] }

// Push and Pop are heap.Interface's.
func (n *newest) Push(e any) { n.events = append(n.events, e.(event)) }

// Pop removes the last.
func (n *newest) Pop() any {
	last := n.events[len(n.events)-1]
	n.events = n.events[:len(n.events)-1]
	return last
}

func (n *newest) add(e event) {
	heap.Push(n, e)
	if n.limit > 0 && n.Len() > n.limit {
		heap.Pop(n)
	}
}

// sorted are the events, the oldest first.
func (n *newest) sorted() []event {
	slices.SortStableFunc(n.events, func(a, b event) int { return a.Time.Compare(b.Time) })
	return n.events
}

// wanted returns what selects events: those of the node, and not older than Since.
func (e *eventsCmd) wanted(nodes map[string]bool, now time.Time) func(event) bool {
	return func(ev event) bool {
		if e.Since > 0 && now.Sub(ev.Time) > e.Since {
			return false
		}
		return nodes == nil || nodes[ev.Node]
	}
}

// eventSource lists events, and watches for those after the list.
type eventSource struct {
	list  func(ctx context.Context, visit func(*corev1.Event)) (version string, err error)
	watch func(ctx context.Context, version string) (io.ReadCloser, error) // JSON of watch events
	nodes map[string]bool                                                  // whose events are wanted; nil is all
}

// Run prints events, the newest last.
func (e *eventsCmd) Run(ctx context.Context, cli *cli, out program.Output) error {
	if e.Limit < 0 || e.Since < 0 {
		return &program.UsageError{Setting: "limit", Reason: "it and since must be 0 or more"}
	}
	if e.Watch && e.Structured() && e.Output == printer.FormatYAML {
		return &program.UsageError{Setting: "output", Reason: "a watch prints json, one event a line, or a table"}
	}
	source, err := e.source(ctx, cli)
	if err != nil {
		return err
	}
	version, err := e.print(ctx, source, out, time.Now())
	if err != nil || !e.Watch {
		return err
	}
	return e.follow(ctx, source, version, out)
}

func (e *eventsCmd) source(ctx context.Context, cli *cli) (*eventSource, error) {
	if e.isLocal(cli) {
		return localEvents(e.sockets("")), nil
	}
	f, err := cli.fleet()
	if err != nil {
		return nil, err
	}
	return fleetEvents(ctx, f, e.Node)
}

// print lists events and returns the version from which a watch goes on.
func (e *eventsCmd) print(ctx context.Context, source *eventSource, out io.Writer, now time.Time) (version string, err error) {
	kept, wanted := &newest{limit: e.Limit}, e.wanted(source.nodes, now)
	version, err = source.list(ctx, func(ev *corev1.Event) {
		if one := eventOf(ev); wanted(one) {
			kept.add(one)
		}
	})
	if err != nil {
		return "", err
	}
	events := kept.sorted()
	if e.Watch && e.Structured() {
		for _, one := range events {
			if err := json.NewEncoder(program.PlainJSON(out)).Encode(one); err != nil {
				return "", err
			}
		}
		return version, nil
	}
	return version, e.Print(out, eventsTable(events, now), printer.NewList("NodeEventList", events))
}

func eventsTable(events []event, now time.Time) printer.Table {
	t := printer.Table{Now: now, Columns: []printer.Column{{Name: "SEEN"}, {Name: "TYPE"}, {Name: "NODE"}, {Name: "REASON"}, {Name: "OBJECT"}, {Name: "NAMESPACE", Wide: true}, {Name: "COUNT", Wide: true}, {Name: "MESSAGE"}}}
	for _, e := range events {
		row := printer.Row{Name: e.Object, Cells: []any{e.Time, e.Type, e.Node, e.Reason, e.Object, e.Namespace, e.Count, e.Message}}
		if e.Type == corev1.EventTypeWarning {
			row.Level = printer.LevelWarning
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// follow prints events as they come, until ctx ends. When the server has forgotten the version, it
// goes on from now.
func (e *eventsCmd) follow(ctx context.Context, source *eventSource, version string, out io.Writer) error {
	for {
		next, err := e.watchOnce(ctx, source, version, out)
		switch {
		case ctx.Err() != nil:
			return nil
		case apierrors.IsResourceExpired(err) || apierrors.IsGone(err):
			if next, err = source.list(ctx, func(*corev1.Event) {}); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		version = next
	}
}

// watchOnce prints the events of one watch; it returns the newest version when the server ends it.
func (e *eventsCmd) watchOnce(ctx context.Context, source *eventSource, version string, out io.Writer) (string, error) {
	stream, err := source.watch(ctx, version)
	if err != nil {
		return version, err
	}
	defer stream.Close()
	for changes := json.NewDecoder(stream); ; {
		var change struct {
			Type   string
			Object json.RawMessage
		}
		if err := changes.Decode(&change); errors.Is(err, io.EOF) {
			return version, nil
		} else if err != nil {
			return version, err
		}
		if change.Type == "ERROR" {
			var status metav1.Status
			if err := json.Unmarshal(change.Object, &status); err != nil {
				return version, err
			}
			return version, &apierrors.StatusError{ErrStatus: status}
		}
		var ev corev1.Event
		if err := json.Unmarshal(change.Object, &ev); err != nil {
			return version, err
		}
		version = cmp.Or(ev.ResourceVersion, version)
		now := time.Now()
		if one := eventOf(&ev); change.Type != "DELETED" && change.Type != "BOOKMARK" && e.wanted(source.nodes, now)(one) {
			if err := e.printOne(out, one, now); err != nil {
				return version, err
			}
		}
	}
}

func (e *eventsCmd) printOne(out io.Writer, one event, now time.Time) error {
	if e.Structured() {
		return json.NewEncoder(program.PlainJSON(out)).Encode(one)
	}
	f := e.Flags
	f.NoHeaders = true
	return f.Print(out, eventsTable([]event{one}, now), nil)
}

// localEvents are those that the node on this machine has.
func localEvents(f *localFlags) *eventSource {
	return &eventSource{
		list: func(ctx context.Context, visit func(*corev1.Event)) (string, error) {
			var list corev1.EventList
			if err := f.read(ctx, "api.sock", "/api/v1/events", "application/json", &list); err != nil {
				return "", err
			}
			for i := range list.Items {
				visit(&list.Items[i])
			}
			return list.ResourceVersion, nil
		},
		watch: func(ctx context.Context, version string) (io.ReadCloser, error) {
			return f.get(ctx, "api.sock", "/api/v1/events?"+url.Values{"watch": {"1"}, "resourceVersion": {version}}.Encode(), "application/json")
		},
	}
}

// fleetEvents are those of one edge node, or of all.
func fleetEvents(ctx context.Context, f *fleet, node string) (*eventSource, error) {
	nodes := map[string]bool{node: true}
	if node == "" {
		nodes = make(map[string]bool)
		if err := f.nodes(ctx, nil, func(n fleetNode) { nodes[n.name] = true }); err != nil {
			return nil, err
		}
	}
	list := func(ctx context.Context, visit func(*corev1.Event)) (version string, err error) {
		err = each(ctx, f, metav1.ListOptions{}, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			page, err := f.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, o)
			if err == nil {
				version = cmp.Or(version, page.ResourceVersion)
			}
			return page, err
		}, visit)
		if err != nil {
			return "", fmt.Errorf("list events: %w", err)
		}
		return version, nil
	}
	watch := func(ctx context.Context, version string) (io.ReadCloser, error) {
		return f.raw.Get().AbsPath("/api/v1/events").SetHeader("Accept", "application/json").Param("watch", "1").Param("resourceVersion", version).Stream(ctx)
	}
	return &eventSource{list, watch, nodes}, nil
}
