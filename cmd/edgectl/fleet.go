package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/pager"

	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// defaultPage is how many objects one answer of the API server has. 10,000 nodes are read in
// pages, and of each node only a few words are kept.
const defaultPage = 500

// fleet reads the state of all edge nodes from the API server.
type fleet struct {
	client    kubernetes.Interface
	raw       rest.Interface // for resources without a typed client; nil for none
	namespace string
	page      int64
}

// fleet connects to the API server.
func (c *cli) fleet() (*fleet, error) {
	cfg, err := c.restConfig()
	if err != nil {
		return nil, fmt.Errorf("%w; or use --local at an edge node", err)
	}
	return newFleet(cfg, c.Namespace)
}

// newFleet makes a reader; protobuf costs the API server and this program a third of JSON.
func newFleet(cfg *rest.Config, namespace string) (*fleet, error) {
	cfg = rest.CopyConfig(cfg)
	cfg.AcceptContentTypes, cfg.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &fleet{client: client, raw: client.RESTClient(), namespace: namespace, page: defaultPage}, nil
}

// each calls visit with each object of all pages.
func each[T runtime.Object](ctx context.Context, f *fleet, options metav1.ListOptions, list func(context.Context, metav1.ListOptions) (runtime.Object, error), visit func(T)) error {
	p := pager.New(list)
	p.PageSize, p.PageBufferSize, p.FullListIfExpired = f.page, 1, false
	return p.EachListItem(ctx, options, func(o runtime.Object) error {
		if t, ok := o.(T); ok {
			visit(t)
		}
		return nil
	})
}

// fleetNode is what is kept of a Node.
type fleetNode struct {
	name, site, version string
	link                corev1.ConditionStatus // "" for a node that never connected
	since               time.Time              // of link, by the taint if there is one
	reason, cause       string                 // of a link that is down
	ready               bool
	readySince          time.Time
	created             time.Time
	bad                 []corev1.NodeCondition // pressures, MQTT: those that should not be True
}

// nodes reads the edge nodes.
func (f *fleet) nodes(ctx context.Context, siteLabels []string, visit func(fleetNode)) error {
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		return f.client.CoreV1().Nodes().List(ctx, o)
	}
	err := each(ctx, f, metav1.ListOptions{LabelSelector: nodelifecycle.RoleLabel}, list, func(n *corev1.Node) { visit(fleetNodeOf(n, siteLabels)) })
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	return nil
}

func fleetNodeOf(n *corev1.Node, siteLabels []string) fleetNode {
	out := fleetNode{name: n.Name, version: n.Status.NodeInfo.KubeletVersion, created: n.CreationTimestamp.Time}
	for _, label := range siteLabels {
		if out.site = n.Labels[label]; out.site != "" {
			break
		}
	}
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type == nodelifecycle.ConditionConnected:
			out.link, out.since, out.reason = c.Status, c.LastTransitionTime.Time, c.Reason
			if _, cause, found := strings.Cut(c.Message, "cause: "); found && c.Status != corev1.ConditionTrue {
				out.cause = strings.Clone(cause)
			}
		case c.Type == corev1.NodeReady:
			out.ready, out.readySince = c.Status == corev1.ConditionTrue, c.LastTransitionTime.Time
		case c.Status == corev1.ConditionTrue: // the others are faults
			out.bad = append(out.bad, corev1.NodeCondition{Type: c.Type, Reason: c.Reason, Message: c.Message, LastTransitionTime: c.LastTransitionTime})
		}
	}
	for _, t := range n.Spec.Taints {
		if t.Key == nodelifecycle.DisconnectedTaint && t.TimeAdded != nil {
			out.since = t.TimeAdded.Time // the node cannot write it
		}
	}
	return out
}

// cloudcore is a cloudcore and its share of the nodes.
type cloudcore struct {
	Name  string `json:"name"`
	Nodes int    `json:"nodes"`
	// Renewed is when it last renewed the Lease of one of its nodes: within a minute if it runs.
	Renewed time.Time `json:"renewed,omitzero"`
	Running bool      `json:"running"`
}

// cloudcoreLost is how old the newest renewal of a cloudcore that runs may be.
const cloudcoreLost = time.Minute

// cloudcores reads who holds which node from the records, which nodes cannot write, and when each
// node's Lease was renewed. Nodes of except, whose Leases nobody renews any more, do not count.
func (f *fleet) cloudcores(ctx context.Context, except map[string]bool, now time.Time) ([]cloudcore, error) {
	renewed := make(map[string]time.Time)
	list := func(namespace string) func(context.Context, metav1.ListOptions) (runtime.Object, error) {
		return func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return f.client.CoordinationV1().Leases(namespace).List(ctx, o)
		}
	}
	err := each(ctx, f, metav1.ListOptions{}, list(corev1.NamespaceNodeLease), func(l *coordinationv1.Lease) {
		if l.Spec.RenewTime != nil {
			renewed[nodelifecycle.RecordName(l.Name)] = l.Spec.RenewTime.Time
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list leases of nodes: %w", err)
	}
	found := make(map[string]*cloudcore)
	ended := make(map[string]bool, len(except)) // by the names of records
	for node := range except {
		ended[nodelifecycle.RecordName(node)] = true
	}
	err = each(ctx, f, metav1.ListOptions{}, list(f.namespace), func(l *coordinationv1.Lease) {
		if !isRecord(l) || ended[l.Name] {
			return
		}
		name := l.Annotations[nodelifecycle.HolderAnnotation]
		c := found[name]
		if c == nil {
			c = &cloudcore{Name: strings.Clone(name)}
			found[c.Name] = c
		}
		c.Nodes++
		if at := renewed[l.Name]; at.After(c.Renewed) {
			c.Renewed = at
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list leases in %s: %w", f.namespace, err)
	}
	out := []cloudcore{}
	for _, c := range found {
		c.Running = now.Sub(c.Renewed) < cloudcoreLost
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b cloudcore) int { return cmp.Or(-cmp.Compare(a.Nodes, b.Nodes), cmp.Compare(a.Name, b.Name)) })
	return out, nil
}

// isRecord reports whether a Lease in cloudcore's namespace is the record of a node.
func isRecord(l *coordinationv1.Lease) bool {
	return l.Annotations[nodelifecycle.HolderAnnotation] != "" && strings.HasPrefix(l.Name, nodelifecycle.RecordName(""))
}

// job is a job of the fleet.
type job struct {
	Kind   string    `json:"kind"`
	Name   string    `json:"name"`
	Phase  string    `json:"phase"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since,omitzero"`
}

// jobResources are the resources of jobs, by kind.
var jobResources = map[string]string{"NodeUpgradeJob": "nodeupgradejobs", "ImagePrePullJob": "imageprepulljobs", "ConfigUpdateJob": "configupdatejobs"}

const jobsBase = "/apis/operations.kubeedge.io/v1alpha2/"

// jobs reads the jobs that have not completed. A cluster without their resources has none.
func (f *fleet) jobs(ctx context.Context) ([]job, error) {
	out := []job{}
	for kind, resource := range jobResources {
		err := f.pages(ctx, jobsBase+resource, nil, func(raw json.RawMessage) error {
			var j struct {
				Metadata metav1.ObjectMeta `json:"metadata"`
				Status   struct {
					Phase  string `json:"phase"`
					Reason string `json:"reason"`
				} `json:"status"`
			}
			err := json.Unmarshal(raw, &j)
			if err == nil && j.Status.Phase != "Completed" {
				out = append(out, job{kind, j.Metadata.Name, j.Status.Phase, j.Status.Reason, j.Metadata.CreationTimestamp.Time})
			}
			return err
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("list %s: %w", resource, err)
		}
	}
	slices.SortFunc(out, func(a, b job) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return out, nil
}
