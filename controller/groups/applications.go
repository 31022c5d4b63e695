package groups

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// appsManager is the field manager of the objects of applications.
const appsManager = "edgekit-applications"

// Times of one application.
const (
	retryFirst  = 5 * time.Second // after an object could not be applied
	retryMost   = 5 * time.Minute
	resyncEvery = 10 * time.Minute // objects that are not watched are applied again
)

// application is what the leader knows of one application.
type application struct {
	generation int64
	rendering  *rendering // while the application is looked at; nil if it could not be made
	applied    map[id]appliedObject
	failed     error // of the last try
	refused    map[id]refusedObject
	retry      time.Duration
	again      time.Time // when refused objects are tried again
	due        time.Time // when to look again; zero is never
	resync     time.Time
}

// appliedObject is what was applied of an object.
type appliedObject struct {
	digest     [sha256.Size]byte
	generation int64 // of the object afterwards
}

// refusedObject is an object that could not be applied.
type refusedObject struct {
	digest [sha256.Size]byte
	err    error
}

// lookAtApplications brings the objects of applications up to date.
func (w *work) lookAtApplications(ctx context.Context, f *fleet, fresh *changes) (next time.Time, err error) {
	now := time.Now()
	wanted := make(map[types.UID]string)
	var apps []*v1alpha1.EdgeApplication
	known := make(map[types.UID]bool)
	for _, app := range w.c.apps.Objects() {
		known[app.UID] = true
		if app.DeletionTimestamp != nil {
			continue // its objects go with it
		}
		a := w.done[app.UID]
		if a == nil || a.generation != app.Generation || fresh.apps[app.UID] || fresh.groups && dependsOnFleet(app) || !a.due.IsZero() && !a.due.After(now) {
			apps = append(apps, app)
			wanted[app.UID] = app.Namespace
		} else {
			next = earlier(next, a.due)
		}
	}
	maps.DeleteFunc(w.done, func(uid types.UID, _ *application) bool { return !known[uid] })
	maps.DeleteFunc(fresh.apps, func(uid types.UID, _ bool) bool { return !known[uid] }) // an object may name any owner
	if len(apps) == 0 {
		return next, nil
	}
	slices.SortFunc(apps, func(a, b *v1alpha1.EdgeApplication) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	have := w.c.workloadsOf(wanted)
	for _, app := range apps {
		if ctx.Err() != nil {
			return next, ctx.Err()
		}
		again, failed := w.reconcile(ctx, app, f, have[app.UID])
		next, err = earlier(next, again), errors.Join(err, failed)
	}
	return next, err
}

// reconcile brings one application up to date. What is wrong with the application is in its
// status; an error is only what concerns its status itself.
func (w *work) reconcile(ctx context.Context, app *v1alpha1.EdgeApplication, f *fleet, have map[id]*unstructured.Unstructured) (time.Time, error) {
	now := time.Now()
	a := w.done[app.UID]
	if a == nil {
		a = &application{applied: make(map[id]appliedObject), refused: make(map[id]refusedObject), resync: now.Add(resyncEvery)}
		w.done[app.UID] = a
	}
	retrying := a.generation != app.Generation || !a.again.After(now)
	if retrying {
		clear(a.refused)
	}
	a.generation = app.Generation
	a.rendering, a.failed = render(app, f.groups, f.members, f.nodes)
	defer func() { a.rendering = nil }() // the objects of all applications would take much memory
	if !a.resync.After(now) {
		a.resync = now.Add(resyncEvery)
		maps.DeleteFunc(a.applied, func(i id, _ appliedObject) bool { return have[i] == nil })
	}
	a.due = a.resync
	if a.failed == nil {
		again, err := w.recordNew(ctx, app, a.rendering)
		if err != nil || !again.IsZero() {
			a.due = now
			return again, err
		}
		if a.failed = w.c.applyAll(ctx, app, a, have); a.failed == nil {
			a.failed = w.c.prune(ctx, app, a.rendering, have)
		}
		switch {
		case a.failed == nil:
			a.retry, a.again = 0, time.Time{}
		case retrying:
			a.retry = min(max(2*a.retry, retryFirst), retryMost)
			a.again = now.Add(a.retry)
		}
		a.due = earlier(a.again, a.resync)
	}
	if ctx.Err() != nil {
		return time.Time{}, nil
	}
	again, err := w.writeAppStatus(ctx, app, a, have)
	if !again.IsZero() {
		a.due = earlier(a.due, again)
	}
	return a.due, err
}

// recordNew writes new objects that are not watched into the status before they are made, so that
// they are found when they leave the template. It returns when to try again if the application has
// changed meanwhile.
func (w *work) recordNew(ctx context.Context, app *v1alpha1.EdgeApplication, r *rendering) (time.Time, error) {
	known := make(map[id]bool)
	for i := range app.Status.WorkloadStatus {
		x := &app.Status.WorkloadStatus[i].Identifier
		known[id{kind: x.Kind, name: x.Name}] = true
	}
	st := app.Status.DeepCopy()
	for i := range r.objects {
		if o := &r.objects[i]; !o.kind.copies && !known[o.id()] {
			st.WorkloadStatus = append(st.WorkloadStatus, v1alpha1.ManifestStatus{Identifier: identify(app, o), Conditions: v1alpha1.EdgeAppProcessing})
		}
	}
	if len(st.WorkloadStatus) == len(app.Status.WorkloadStatus) {
		return time.Time{}, nil
	}
	return w.c.writeStatus(ctx, v1alpha1.EdgeApplications, v1alpha1.KindEdgeApplication, &app.ObjectMeta, st)
}

func identify(app *v1alpha1.EdgeApplication, o *object) v1alpha1.ResourceIdentifier {
	return v1alpha1.ResourceIdentifier{
		Ordinal: o.ordinal, Group: o.kind.Group, Version: o.kind.Version, Kind: o.kind.Kind, Resource: o.kind.resource,
		Namespace: app.Namespace, Name: o.GetName(),
	}
}

// applyError is an object that could not be applied.
type applyError struct {
	reason, message string
}

func (e *applyError) Error() string { return e.message }

// applyAll applies all objects that are not as they should be.
func (c *Controller) applyAll(ctx context.Context, app *v1alpha1.EdgeApplication, a *application, have map[id]*unstructured.Unstructured) error {
	var mu sync.Mutex
	var failed []error
	var writes []func(context.Context) error
	for i := range a.rendering.objects {
		o := &a.rendering.objects[i]
		body, err := json.Marshal(o.Object)
		if err != nil {
			return &applyError{reason: reasonInvalid, message: err.Error()}
		}
		digest := sha256.Sum256(body)
		last, done := a.applied[o.id()]
		if live := have[o.id()]; done && last.digest == digest && (!o.kind.copies || live != nil && live.GetGeneration() == last.generation) {
			continue
		}
		if no, ok := a.refused[o.id()]; ok && no.digest == digest { // nodes that come and go do not have it tried again
			failed = append(failed, no.err)
			continue
		}
		writes = append(writes, func(ctx context.Context) error {
			now, err := c.applyObject(ctx, app, o)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, err)
				a.refused[o.id()] = refusedObject{digest: digest, err: err}
				return nil
			}
			a.applied[o.id()] = appliedObject{digest: digest, generation: now.GetGeneration()}
			return nil
		})
	}
	if err := c.write(ctx, writes); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	first, _ := errors.AsType[*applyError](failed[0])
	if len(failed) > 1 {
		first = &applyError{reason: first.reason, message: fmt.Sprintf("%s; and %d more", first.message, len(failed)-1)}
	}
	return first
}

func (c *Controller) client(app *v1alpha1.EdgeApplication, k *kind) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(k.gvr()).Namespace(app.Namespace)
}

// applyObject applies one object. One that exists and is not the application's stays as it is.
func (c *Controller) applyObject(ctx context.Context, app *v1alpha1.EdgeApplication, o *object) (*unstructured.Unstructured, error) {
	client := c.client(app, o.kind)
	u, own := o.Unstructured, false
	live, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, c.whyNot(app, o, err)
	case ownerUID(live) != app.UID:
		return nil, &applyError{reason: reasonExists, message: fmt.Sprintf("%s %s exists and is not of this application: rename one, or delete it", o.kind.Kind, o.GetName())}
	default:
		u, own = u.DeepCopy(), true
		u.SetUID(live.GetUID()) // if it goes meanwhile, no other one is changed
		if o.kind.copies && !hasSite(live) {
			unmarkSite(u)
		}
	}
	body, err := json.Marshal(u.Object)
	if err != nil {
		return nil, c.whyNot(app, o, err)
	}
	c.counts.writes.Add(1)
	// Without force a new object that somebody else makes at the same time is a conflict.
	now, err := client.Patch(ctx, o.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: appsManager, Force: &own})
	if err != nil {
		c.counts.writesFailed.Add(1)
		return nil, c.whyNot(app, o, err)
	}
	c.counts.applied.Add(1)
	return now, nil
}

// hasSite reports whether the pods of a live copy have the site's label.
func hasSite(live *unstructured.Unstructured) bool {
	if _, selects, _ := unstructured.NestedMap(live.Object, "spec", "selector", "matchLabels"); selects && live.GetKind() != "Job" {
		_, has, _ := unstructured.NestedString(live.Object, "spec", "selector", "matchLabels", v1alpha1.SiteLabel)
		return has
	}
	_, has, _ := unstructured.NestedString(live.Object, "spec", "template", "metadata", "labels", v1alpha1.SiteLabel)
	return has || live.GetKind() == "CronJob"
}

// The reasons of the condition Applied.
const (
	reasonApplied   = "Applied"
	reasonInvalid   = "InvalidTemplate"
	reasonForbidden = "Forbidden"
	reasonExists    = "AlreadyExists"
	reasonFailed    = "Failed"
)

// whyNot says why an object could not be applied.
func (c *Controller) whyNot(app *v1alpha1.EdgeApplication, o *object, err error) error {
	what := fmt.Sprintf("%s %s: %v", o.kind.Kind, o.GetName(), err)
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot "):
		return &applyError{reason: reasonForbidden, message: what + ". An administrator lets cloudcore make the objects of applications in this namespace with: " +
			"kubectl create rolebinding edgekit-applications --clusterrole=edgekit:cloudcore-applications --serviceaccount=" + c.cfg.Namespace + ":cloudcore -n " + app.Namespace}
	case apierrors.IsForbidden(err):
		return &applyError{reason: reasonForbidden, message: what}
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return &applyError{reason: reasonInvalid, message: what}
	}
	return &applyError{reason: reasonFailed, message: what}
}

// prune deletes the objects of an application that are no longer among its own.
func (c *Controller) prune(ctx context.Context, app *v1alpha1.EdgeApplication, r *rendering, have map[id]*unstructured.Unstructured) error {
	keep := make(map[id]bool, len(r.objects))
	for i := range r.objects {
		keep[r.objects[i].id()] = true
	}
	gone := make(map[id]*kind)
	all := kinds()
	find := func(name string) *kind {
		i := slices.IndexFunc(all, func(k kind) bool { return k.Kind == name })
		if i < 0 {
			return nil
		}
		return &all[i]
	}
	for i := range have {
		gone[i] = find(i.kind)
	}
	for i := range app.Status.WorkloadStatus {
		x := &app.Status.WorkloadStatus[i].Identifier
		if x.Namespace == app.Namespace || x.Namespace == "" {
			gone[id{kind: x.Kind, name: x.Name}] = find(x.Kind)
		}
	}
	maps.DeleteFunc(gone, func(i id, k *kind) bool { return keep[i] || k == nil })
	if len(gone) == 0 {
		return nil
	}
	if newest, err := c.isNewest(ctx, app); err != nil || !newest {
		return err // the watch has the newer one soon
	}
	for i, k := range gone {
		if err := c.pruneObject(ctx, app, k, i.name); err != nil {
			return err
		}
	}
	return nil
}

// isNewest reports whether an application is as the API server has it. The watch may lag, for
// example after another cloudcore led, and what is deleted by an old template cannot be taken back.
func (c *Controller) isNewest(ctx context.Context, app *v1alpha1.EdgeApplication) (bool, error) {
	live, err := c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeApplications)).Namespace(app.Namespace).
		Get(ctx, app.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, &applyError{reason: reasonFailed, message: fmt.Sprintf("the application cannot be read: %v", err)}
	}
	return live.GetUID() == app.UID && live.GetGeneration() == app.Generation && live.GetDeletionTimestamp() == nil, nil
}

// pruneObject deletes one object if it is the application's.
func (c *Controller) pruneObject(ctx context.Context, app *v1alpha1.EdgeApplication, k *kind, name string) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	client := c.client(app, k)
	live, err := client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (ownerUID(live) != app.UID || live.GetDeletionTimestamp() != nil) {
		return nil
	}
	if err == nil {
		c.counts.writes.Add(1)
		uid := live.GetUID()
		err = client.Delete(ctx, name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &uid}, PropagationPolicy: new(metav1.DeletePropagationBackground),
		})
		if err == nil {
			c.counts.pruned.Add(1)
		}
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return c.whyNot(app, &object{Unstructured: &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}}}, kind: k}, err)
	}
	return nil
}
