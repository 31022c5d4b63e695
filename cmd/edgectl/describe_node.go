package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

const (
	// nodeAnswer bounds a question to a node through the link.
	nodeAnswer = 10 * time.Second
	// lastEvents is how many events describe shows.
	lastEvents = 10
)

// nodeDescription is the life of one node. Its JSON is stable.
type nodeDescription struct {
	Kind       string             `json:"kind"` // NodeDescription
	Time       time.Time          `json:"time"`
	Name       string             `json:"name"`
	Site       string             `json:"site,omitempty"`
	Version    string             `json:"version,omitempty"`
	Created    time.Time          `json:"created,omitzero"`
	Link       string             `json:"link"` // connected, away or never
	LinkSince  time.Time          `json:"linkSince,omitzero"`
	LinkReason string             `json:"linkReason,omitempty"`
	Cloudcore  string             `json:"cloudcore,omitempty"` // that holds the node
	Session    time.Time          `json:"sessionSince,omitzero"`
	Renewed    time.Time          `json:"leaseRenewed,omitzero"`
	Autonomy   string             `json:"autonomy"` // how long it keeps its pods without a link
	Identity   *claimedNode       `json:"identity,omitempty"`
	Addresses  []string           `json:"addresses,omitempty"`
	Taints     []string           `json:"taints,omitempty"`
	Conditions []nodeCondition    `json:"conditions"`
	Pods       *nodestate.Pods    `json:"pods,omitempty"`    // as the API server knows them
	Devices    *nodestate.Devices `json:"devices,omitempty"` // as the API server knows them
	Jobs       []jobResult        `json:"jobs,omitempty"`    // results of jobs at this node
	Events     []event            `json:"events"`            // the last ones, the newest last
	Status     *nodestate.Status  `json:"status,omitempty"`  // what the node says, if it is connected and the user may ask
	Unknown    []string           `json:"unknown,omitempty"`
}

// nodeCondition is a condition of a node.
type nodeCondition struct {
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Since   time.Time `json:"since,omitzero"`
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
}

// jobResult is what a job came to at one node.
type jobResult struct {
	Kind   string    `json:"kind"`
	Job    string    `json:"job"`
	Phase  string    `json:"phase"`                // of the node
	May    string    `json:"permission,omitempty"` // what the cloud allows: Download, Apply, Paused or Cancelled
	Reason string    `json:"reason,omitempty"`
	Time   time.Time `json:"time,omitzero"`

	open bool // it has not ended
}

// describeNode prints a node: the one on this machine, or any in the API server.
func (d *describeCmd) describeNode(ctx context.Context, cli *cli, out io.Writer) error {
	now := time.Now()
	if d.isLocal(cli) {
		return d.describeLocalNode(ctx, out, now)
	}
	if d.Name == "" {
		return &program.UsageError{Setting: "fleet", Reason: "give the node's name: edgectl describe node NAME"}
	}
	f, err := cli.fleet()
	if err != nil {
		return err
	}
	identities, err := cli.identityOf(f.client)
	if err != nil {
		return err
	}
	n, err := f.describe(ctx, d.Name, identities.ListNodes, now)
	if err != nil {
		return err
	}
	return d.printNode(out, n)
}

// describe reads everything about a node. What else than the Node cannot be read is in Unknown.
func (f *fleet) describe(ctx context.Context, name string, identities func(context.Context) ([]nodeidentity.Claimed, error), now time.Time) (*nodeDescription, error) {
	out := &nodeDescription{Kind: "NodeDescription", Time: now, Name: name, Link: "never", Conditions: []nodeCondition{}, Events: []event{}}
	unknown := func(what string, err error) {
		if err != nil {
			out.Unknown = append(out.Unknown, what+": "+err.Error())
		}
	}
	node, err := f.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("get node %s: %w", name, err)
	}
	claimed, identityErr := identities(ctx)
	unknown("certificate", identityErr)
	out.identity(claimed)
	if err != nil {
		if out.Identity == nil {
			return nil, fmt.Errorf("there is no node %s, and no machine has joined with this name: see 'edgectl node list'", name)
		}
		out.Unknown = append(out.Unknown, "everything else: a machine has joined with this name, and there is no Node yet")
		return out, nil
	}
	out.node(node)
	unknown("cloudcore", f.holder(ctx, out))
	unknown("pods", f.podsOf(ctx, out))
	unknown("devices", f.devicesOf(ctx, out))
	unknown("jobs", f.resultsOf(ctx, out))
	unknown("events", f.eventsOf(ctx, out))
	if out.Link != "connected" {
		out.Unknown = append(out.Unknown, "transport, backlog, store, runtime: the node is not connected; at the machine: edgectl status")
		return out, nil
	}
	out.Status, err = f.ask(ctx, name)
	unknown("what the node says (this takes the right get of nodes/proxy)", err)
	return out, nil
}

func (n *nodeDescription) identity(all []nodeidentity.Claimed) {
	for _, c := range all {
		if c.Node == n.Name && (n.Identity == nil || c.Revoked.IsZero()) {
			n.Identity = &claimedNode{c.Node, state(c), c.KeyHash, c.Issuer, c.Until, c.Revoked}
		}
	}
}

func (n *nodeDescription) node(o *corev1.Node) {
	short := fleetNodeOf(o, []string{"apps.kubeedge.io/belonging-to", corev1.LabelTopologyZone})
	n.Site, n.Version, n.Created, n.LinkSince = short.site, short.version, short.created, short.since
	n.Autonomy = cmp.Or(o.Labels[nodelifecycle.AutonomyLabel], "forever")
	switch short.link {
	case corev1.ConditionTrue:
		n.Link = "connected"
	case "":
	default:
		n.Link, n.LinkReason = "away", strings.TrimSuffix(short.reason+": "+short.cause, ": ")
	}
	for _, a := range o.Status.Addresses {
		n.Addresses = append(n.Addresses, string(a.Type)+" "+a.Address)
	}
	for _, t := range o.Spec.Taints {
		n.Taints = append(n.Taints, t.ToString())
	}
	for _, c := range o.Status.Conditions {
		n.Conditions = append(n.Conditions, nodeCondition{string(c.Type), string(c.Status), c.LastTransitionTime.Time, c.Reason, c.Message})
	}
}

// holder reads which cloudcore holds the node.
func (f *fleet) holder(ctx context.Context, n *nodeDescription) error {
	lease, err := f.client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(ctx, n.Name, metav1.GetOptions{})
	if err == nil && lease.Spec.RenewTime != nil {
		n.Renewed = lease.Spec.RenewTime.Time
	}
	record, err := f.client.CoordinationV1().Leases(f.namespace).Get(ctx, nodelifecycle.RecordName(n.Name), metav1.GetOptions{})
	if err != nil {
		return err
	}
	n.Cloudcore = record.Annotations[nodelifecycle.HolderAnnotation]
	n.Session, _ = time.Parse(time.RFC3339Nano, record.Annotations[nodelifecycle.SinceAnnotation]) // for people: a damaged one is not shown
	return nil
}

func (f *fleet) podsOf(ctx context.Context, n *nodeDescription) error {
	var pods []*corev1.Pod
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", n.Name).String()}
	err := each(ctx, f, options, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return f.client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
	}, func(p *corev1.Pod) { pods = append(pods, p) })
	if err != nil {
		return err
	}
	counted := nodestate.PodsOf(pods)
	n.Pods = &counted
	return nil
}

// eventsOf reads the last events about the node.
func (f *fleet) eventsOf(ctx context.Context, n *nodeDescription) error {
	kept := &newest{limit: lastEvents}
	options := metav1.ListOptions{FieldSelector: fields.Set{"involvedObject.kind": "Node", "involvedObject.name": n.Name}.AsSelector().String()}
	err := each(ctx, f, options, func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return f.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, o)
	}, func(e *corev1.Event) { kept.add(eventOf(e)) })
	if err == nil && kept.Len() > 0 {
		n.Events = kept.sorted()
	}
	return err
}

// pages reads the items of a resource without a typed client, page after page.
func (f *fleet) pages(ctx context.Context, path string, params map[string]string, visit func(json.RawMessage) error) error {
	for next := ""; ; {
		request := f.raw.Get().AbsPath(path).SetHeader("Accept", "application/json").Param("limit", fmt.Sprint(f.page))
		for name, value := range params {
			request = request.Param(name, value)
		}
		if next != "" {
			request = request.Param("continue", next)
		}
		text, err := request.DoRaw(ctx)
		if err != nil {
			return err
		}
		var list struct {
			Metadata metav1.ListMeta   `json:"metadata"`
			Items    []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(text, &list); err != nil {
			return err
		}
		for _, item := range list.Items {
			if err := visit(item); err != nil {
				return err
			}
		}
		if next = list.Metadata.Continue; next == "" {
			return nil
		}
	}
}

// devicesOf counts the Devices of the node by the state in their DeviceStatus. A cluster without
// the resources has none.
func (f *fleet) devicesOf(ctx context.Context, n *nodeDescription) error {
	out := nodestate.Devices{States: make(map[string]int), Bad: []string{}}
	mine := make(map[string]bool)
	var item struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
			NodeName string `json:"nodeName"`
		} `json:"spec"`
		Status struct {
			State string `json:"state"`
		} `json:"status"`
	}
	read := func(raw json.RawMessage) (string, error) {
		item.Spec.NodeName, item.Status.State, item.Metadata = "", "", metav1.ObjectMeta{}
		err := json.Unmarshal(raw, &item)
		return item.Metadata.Namespace + "/" + item.Metadata.Name, err
	}
	err := f.pages(ctx, devicesBase()+"/devices", nil, func(raw json.RawMessage) error {
		id, err := read(raw)
		if err == nil && item.Spec.NodeName == n.Name {
			mine[id] = true
		}
		return err
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	states := make(map[string]string)
	err = f.pages(ctx, devicesBase()+"/devicestatuses", nil, func(raw json.RawMessage) error {
		id, err := read(raw)
		if mine[id] {
			states[id] = item.Status.State
		}
		return err
	})
	for id := range mine {
		state := cmp.Or(states[id], "none")
		out.Total++
		out.States[state]++
		if state != "online" && state != "ok" {
			out.Bad = append(out.Bad, id)
		}
	}
	slices.Sort(out.Bad)
	out.Bad = out.Bad[:min(len(out.Bad), nodestate.MaxListed)]
	n.Devices = &out
	return err
}

// resultsOf reads what jobs came to at the node.
func (f *fleet) resultsOf(ctx context.Context, n *nodeDescription) error {
	mine := map[string]string{"fieldSelector": fields.OneTermEqualSelector("spec.nodeName", n.Name).String()}
	err := f.pages(ctx, jobsBase+"nodejobresults", mine, func(raw json.RawMessage) error {
		var r v1alpha2.NodeJobResult
		if err := json.Unmarshal(raw, &r); err != nil {
			return err
		}
		if r.Spec.NodeName != n.Name {
			return nil // of a server that does not know the selector
		}
		job := jobResult{r.Spec.Kind, r.Spec.Job, string(r.Status.Phase), string(r.Spec.Phase), strings.TrimSpace(r.Status.Reason + " " + r.Status.Message), r.CreationTimestamp.Time, !r.Status.Phase.Final()}
		if r.Status.FinishedTime != nil {
			job.Time = r.Status.FinishedTime.Time
		}
		n.Jobs = append(n.Jobs, job)
		return nil
	})
	// Those that wait, or are under way, come first: somebody may have to do something about them.
	slices.SortFunc(n.Jobs, func(a, b jobResult) int {
		if a.open != b.open {
			return map[bool]int{true: -1, false: 1}[a.open]
		}
		return b.Time.Compare(a.Time)
	})
	n.Jobs = n.Jobs[:min(len(n.Jobs), 5)]
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// ask asks the node for its status document, through the link.
func (f *fleet) ask(ctx context.Context, node string) (*nodestate.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, nodeAnswer)
	defer cancel()
	in, err := f.proxy(ctx, node, nodestate.Path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	var s nodestate.Status
	if err := json.NewDecoder(io.LimitReader(in, maxDocument)).Decode(&s); err != nil { // a node may be hostile
		return nil, fmt.Errorf("the node's answer: %w", err)
	}
	return &s, nil
}

// proxy opens a path of the node's kubelet API, through the API server and the link.
func (f *fleet) proxy(ctx context.Context, node, path string) (io.ReadCloser, error) {
	return f.raw.Get().AbsPath("/api/v1/nodes/", node, "proxy", path).SetHeader("Accept", "*/*").Stream(ctx)
}
