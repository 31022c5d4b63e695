package sites

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"

	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
)

const (
	callTimeout   = 10 * time.Second
	retryDiscover = 5 * time.Second // of a resource that is not there
	rediscover    = time.Minute     // of one that is
	maxShortNames = 16
	fieldManager  = "edgekit-sites"
)

// lookups is what discovery said of the resource of an EdgeSync.
type lookups struct {
	next    time.Time       // when to ask again
	names   *v1alpha1.Names // nil: the API server does not serve it
	missing time.Time       // since when it does not; zero if it does
	asked   bool            // it was answered at least once
	problem string          // why it cannot be followed, "" if it can
}

// discover asks the API server what it serves of the resources of the EdgeSyncs whose status this
// cloudcore writes. It returns when to ask again.
func (w *work) discover(ctx context.Context) (next time.Time) {
	c := w.c
	disco := discovery.ToServerResourcesInterfaceWithContext(c.cfg.Cloud.Discovery())
	answers := make(map[schema.GroupVersion]*metav1.APIResourceList)
	seen := make(map[types.UID]bool, len(c.plans))
	now := time.Now()
	for _, p := range c.plans {
		uid := p.sync.UID
		seen[uid] = true
		if p.problem != nil && p.sync.Status.Names == nil || !c.cfg.Mine("edgesync/"+p.sync.Name) {
			continue
		}
		l := c.known[uid]
		if l == nil {
			l = &lookups{names: p.sync.Status.Names}
			c.known[uid] = l
		}
		if m := c.mirrors[uid]; m != nil && apierrors.IsNotFound(m.current().err) && l.missing.IsZero() {
			l.next = earlier(l.next, now.Add(retryDiscover))
		}
		if now.Before(l.next) {
			next = earlier(next, l.next)
			continue
		}
		gv := p.resource.GroupVersion()
		list, ok := answers[gv]
		if !ok {
			var err error
			if list, err = lookUp(ctx, disco, gv); err != nil {
				c.log.Warn("the API server's discovery does not answer; trying again", "err", err)
				return earlier(next, now.Add(retryDiscover))
			}
			answers[gv] = list
		}
		l.answer(p, list, now, c.cfg.GoneAfter)
		next = earlier(next, l.next)
	}
	for uid := range c.known {
		if !seen[uid] {
			delete(c.known, uid)
		}
	}
	return next
}

// lookUp returns the resources of a group and version; nil if the API server has none.
func lookUp(ctx context.Context, disco discovery.ServerResourcesInterfaceWithContext, gv schema.GroupVersion) (*metav1.APIResourceList, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := disco.ServerResourcesForGroupVersionWithContext(ctx, gv.String())
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // it has none
	}
	return list, err
}

// answer notes what discovery said.
func (l *lookups) answer(p *plan, list *metav1.APIResourceList, now time.Time, goneAfter time.Duration) {
	l.asked, l.problem = true, ""
	var r *metav1.APIResource
	if list != nil {
		if i := slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == p.resource.Resource }); i >= 0 {
			r = &list.APIResources[i]
		}
	}
	if r == nil {
		l.next = now.Add(retryDiscover)
		if l.missing.IsZero() {
			l.missing = now
		}
		if now.Sub(l.missing) >= goneAfter {
			l.names = nil
		}
		return
	}
	l.missing, l.next = time.Time{}, now.Add(rediscover)
	l.names = &v1alpha1.Names{
		Kind: r.Kind, Singular: r.SingularName, Namespaced: r.Namespaced,
		ShortNames: slices.Clone(r.ShortNames[:min(len(r.ShortNames), maxShortNames)]),
	}
	for _, verb := range []string{"get", "list", "watch"} {
		if !slices.Contains(r.Verbs, verb) {
			l.names, l.problem = nil, fmt.Sprintf("spec.resource: %s has no verb %s, so that no node can hold it", p.resource.GroupResource(), verb)
			return
		}
	}
}

// writeStatuses writes the statuses that have changed and are this cloudcore's to write. It returns when
// it is time for those that must wait.
func (w *work) writeStatuses(ctx context.Context) (next time.Time) {
	now := time.Now()
	for uid := range w.written {
		if _, ok := w.c.known[uid]; !ok && now.Sub(w.written[uid]) > time.Hour {
			delete(w.written, uid)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout) // for all: meanwhile nothing else is looked at
	defer cancel()
	plans := slices.Clone(w.c.plans)
	// The one that was written last comes last, so that one that hangs does not keep out the others.
	slices.SortStableFunc(plans, func(a, b *plan) int { return w.written[a.sync.UID].Compare(w.written[b.sync.UID]) })
	for _, p := range plans {
		if ctx.Err() != nil {
			return earlier(next, now.Add(callTimeout))
		}
		item, ok := w.c.syncs.Load(nameOfSync(p.sync))
		if !ok || item.Object.UID != p.sync.UID || item.Object.Generation != p.sync.Generation || !w.c.cfg.Mine("edgesync/"+p.sync.Name) {
			continue
		}
		if at := w.writeStatus(ctx, p, item.Object, now); !at.IsZero() {
			next = earlier(next, at)
		}
	}
	return next
}

// writeStatus writes one status. It returns when to try again; zero if there is nothing to do.
func (w *work) writeStatus(ctx context.Context, p *plan, have *v1alpha1.EdgeSync, now time.Time) time.Time {
	st := w.c.status(p, have)
	if equality.Semantic.DeepEqual(have.Status, st) {
		return time.Time{}
	}
	counts := have.Status
	counts.Objects, counts.Bytes = st.Objects, st.Bytes
	if due := w.written[p.sync.UID].Add(w.c.cfg.StatusEvery); now.Before(due) && equality.Semantic.DeepEqual(counts, st) {
		return due
	}
	w.written[p.sync.UID] = now
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&st)
	if err != nil {
		w.c.log.Error("a status cannot be written", "edgesync", have.Name, "err", err)
		return time.Time{}
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion().String(), "kind": v1alpha1.KindEdgeSync, "status": content,
		"metadata": map[string]any{"name": have.Name, "uid": string(have.UID), "resourceVersion": have.ResourceVersion},
	}}
	w.c.counts.writes.Add(1)
	_, err = w.c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeSyncs)).UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: fieldManager})
	if err == nil || apierrors.IsNotFound(err) {
		return time.Time{}
	}
	w.c.counts.writesFailed.Add(1)
	if !apierrors.IsConflict(err) {
		w.c.log.Warn("the status of an EdgeSync cannot be written; trying again", "edgesync", have.Name, "err", err)
	}
	return now.Add(time.Second)
}

// status makes the status of a plan.
func (c *Controller) status(p *plan, have *v1alpha1.EdgeSync) v1alpha1.EdgeSyncStatus {
	st := v1alpha1.EdgeSyncStatus{ObservedGeneration: have.Generation, Names: have.Status.Names, Conditions: slices.Clone(have.Status.Conditions)}
	l := c.known[p.sync.UID]
	if l != nil && l.asked {
		st.Names = l.names
	}
	var now mirrorState
	if m := c.mirrors[p.sync.UID]; m != nil {
		now = m.current()
		st.Objects, st.Bytes = int32(now.objects), now.bytes //nolint:gosec // at most 20,000
	}
	st.Nodes = int32(len(c.holders[p.sync.UID])) //nolint:gosec // nodes of a cluster
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		apimeta.SetStatusCondition(&st.Conditions, metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: have.Generation})
	}
	reason, message := c.ready(p, l, now)
	status := metav1.ConditionFalse
	if reason == v1alpha1.ReasonSynced {
		status = metav1.ConditionTrue
	}
	set(v1alpha1.ConditionReady, status, reason, message)
	if reason == v1alpha1.ReasonForbidden {
		set(v1alpha1.ConditionForbidden, metav1.ConditionTrue, "MissingRight", message)
	} else {
		set(v1alpha1.ConditionForbidden, metav1.ConditionFalse, "NothingRefused", "")
	}
	if now.over {
		set(v1alpha1.ConditionLimitExceeded, metav1.ConditionTrue, "ObjectsLeftOut", overLimit(p))
	} else {
		set(v1alpha1.ConditionLimitExceeded, metav1.ConditionFalse, "WithinLimit", "")
	}
	return st
}

// ready returns the reason and message of the condition Ready.
func (c *Controller) ready(p *plan, l *lookups, now mirrorState) (reason, message string) {
	full := len(c.full[p.sync.UID])
	switch {
	case p.problem != nil:
		return p.problem.reason, p.problem.message
	case l != nil && l.problem != "":
		return v1alpha1.ReasonInvalid, l.problem
	case l != nil && l.asked && l.names == nil:
		return v1alpha1.ReasonNotServed, fmt.Sprintf("the API server serves no %s of version %s: apply its CustomResourceDefinition, or correct spec.resource", p.resource.GroupResource(), p.resource.Version)
	case forbidden(now.err):
		return v1alpha1.ReasonForbidden, remedy(p, now.err)
	case now.err != nil:
		return v1alpha1.ReasonUnavailable, "the objects cannot be read, and nodes keep what they have: " + shorten(now.err.Error())
	case !now.synced:
		return v1alpha1.ReasonReading, "the objects are being read"
	case now.over:
		return v1alpha1.ReasonLimitExceeded, overLimit(p)
	case full > 0:
		return v1alpha1.ReasonNodesFull, fmt.Sprintf("%d nodes do not get the objects: the limits of their older EdgeSyncs add up to more than %d objects, %d MiB or %d EdgeSyncs with this one", full, maxNodeObjects, maxNodeBytes>>20, maxNodeSyncs)
	}
	return v1alpha1.ReasonSynced, ""
}

func overLimit(p *plan) string {
	return fmt.Sprintf("there are more than %d objects or %d bytes: nodes get the first in the order of namespace and name. Raise spec.limit, or choose fewer objects", p.limit.objects, p.limit.bytes)
}

func forbidden(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

// maxMessage bounds what the API server said in a condition.
const maxMessage = 500

func shorten(text string) string {
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

// remedy is the message of the condition Forbidden: what to apply.
func remedy(p *plan, err error) string {
	return fmt.Sprintf(`cloudcore may not read %[1]s (%[2]s); nodes keep what they have. Apply:
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: edgekit:sync-%[1]s
  labels:
    %[5]s: "true"
rules:
- apiGroups: [%[3]q]
  resources: [%[4]q]
  verbs: [get, list, watch]
`, p.resource.GroupResource(), shorten(err.Error()), p.resource.Group, p.resource.Resource, AggregateLabel)
}

// AggregateLabel is, with the value "true", on the ClusterRoles that let cloudcore read further resources.
const AggregateLabel = "rbac.edgekit.io/aggregate-to-cloudcore"
