package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// The bounds of an application's status.
const (
	maxWorkloadStatuses = 500
	maxSites            = 200
)

// writeAppStatus writes the status of an application if it has changed and it is time. It returns
// when to look again, if it does so before the application changes.
func (w *work) writeAppStatus(ctx context.Context, app *v1alpha1.EdgeApplication, a *application, have map[id]*unstructured.Unstructured) (time.Time, error) {
	st := appStatus(app, a, have)
	if item, ok := w.c.apps.Load(nameOf(app)); ok && item.Object.UID == app.UID && item.Object.Generation == app.Generation {
		app = item.Object // recordNew may have written it
	}
	if equality.Semantic.DeepEqual(app.Status, st) {
		return time.Time{}, nil
	}
	urgent := app.Status.ObservedGeneration != st.ObservedGeneration || app.Status.Summary != st.Summary || !equality.Semantic.DeepEqual(app.Status.Conditions, st.Conditions)
	if at := w.statusDue(app.UID, urgent); !at.IsZero() {
		return at, nil
	}
	w.written[app.UID] = time.Now()
	again, err := w.c.writeStatus(ctx, v1alpha1.EdgeApplications, v1alpha1.KindEdgeApplication, &app.ObjectMeta, &st)
	return again, err
}

// appStatus makes the status of an application.
func appStatus(app *v1alpha1.EdgeApplication, a *application, have map[id]*unstructured.Unstructured) v1alpha1.EdgeApplicationStatus {
	st := v1alpha1.EdgeApplicationStatus{ObservedGeneration: app.Generation, Conditions: slices.Clone(app.Status.Conditions)}
	if a.rendering == nil { // what was applied before stays, and so does what is known of it
		st.WorkloadStatus, st.Sites, st.Summary = app.Status.WorkloadStatus, app.Status.Sites, app.Status.Summary
		setCondition(&st.Conditions, v1alpha1.ConditionApplied, metav1.ConditionFalse, reasonInvalid, a.failed.Error(), app.Generation)
		setCondition(&st.Conditions, v1alpha1.ConditionReady, metav1.ConditionUnknown, reasonInvalid, "the template cannot be applied", app.Generation)
		return st
	}
	type count struct{ ready, all int }
	sites := make(map[string]*count, len(a.rendering.sites))
	for _, site := range a.rendering.sites {
		sites[site] = &count{}
	}
	for i := range a.rendering.objects {
		o := &a.rendering.objects[i]
		_, applied := a.applied[o.id()]
		ok := applied && (!o.kind.copies || available(have[o.id()]))
		if n := sites[o.site]; n != nil {
			n.all++
			if ok {
				n.ready++
			}
		}
		status := v1alpha1.EdgeAppProcessing
		if ok {
			status = v1alpha1.EdgeAppAvailable
		}
		st.WorkloadStatus = append(st.WorkloadStatus, v1alpha1.ManifestStatus{Identifier: identify(app, o), Conditions: status})
	}
	st.WorkloadStatus = withUnwatched(st.WorkloadStatus, app, a)
	ready := 0
	var waiting, fine []v1alpha1.SiteStatus
	for _, site := range a.rendering.sites {
		n := sites[site]
		s := v1alpha1.SiteStatus{Name: site, Ready: n.ready == n.all, Workloads: fmt.Sprintf("%d/%d", n.ready, n.all)}
		if s.Ready {
			ready++
			fine = append(fine, s)
		} else {
			waiting = append(waiting, s)
		}
	}
	st.Sites = append(waiting, fine...)
	st.Sites = st.Sites[:min(len(st.Sites), maxSites)]
	slices.SortFunc(st.Sites, func(a, b v1alpha1.SiteStatus) int { return strings.Compare(a.Name, b.Name) })
	st.Summary = fmt.Sprintf("%d/%d sites", ready, len(a.rendering.sites))
	setConditions(&st, a, waiting)
	return st
}

// withUnwatched bounds the objects of a status. Those that are not watched come first, since they
// are found by the status alone; those that left the template stay until they are pruned.
func withUnwatched(all []v1alpha1.ManifestStatus, app *v1alpha1.EdgeApplication, a *application) []v1alpha1.ManifestStatus {
	watched := func(m v1alpha1.ManifestStatus) bool {
		k := kindOf(metav1.GroupVersion{Group: m.Identifier.Group, Version: m.Identifier.Version}.String(), m.Identifier.Kind)
		return k == nil || k.copies
	}
	if a.failed != nil {
		for _, old := range app.Status.WorkloadStatus {
			known := slices.ContainsFunc(all, func(m v1alpha1.ManifestStatus) bool {
				return m.Identifier.Kind == old.Identifier.Kind && m.Identifier.Name == old.Identifier.Name
			})
			if !known && !watched(old) && len(all) < maxObjects {
				old.Conditions = v1alpha1.EdgeAppProcessing
				all = append(all, old)
			}
		}
	}
	if len(all) <= maxWorkloadStatuses {
		return all
	}
	slices.SortStableFunc(all, func(x, y v1alpha1.ManifestStatus) int {
		switch wx, wy := watched(x), watched(y); {
		case wx == wy:
			return 0
		case wx:
			return 1
		}
		return -1
	})
	return all[:maxWorkloadStatuses]
}

// setConditions sets Applied and Ready.
func setConditions(st *v1alpha1.EdgeApplicationStatus, a *application, waiting []v1alpha1.SiteStatus) {
	generation := st.ObservedGeneration
	if a.failed != nil {
		reason := reasonFailed
		if e, ok := errors.AsType[*applyError](a.failed); ok {
			reason = e.reason
		}
		setCondition(&st.Conditions, v1alpha1.ConditionApplied, metav1.ConditionFalse, reason, a.failed.Error(), generation)
	} else {
		setCondition(&st.Conditions, v1alpha1.ConditionApplied, metav1.ConditionTrue, reasonApplied, "", generation)
	}
	switch {
	case len(waiting) > 0:
		names := make([]string, len(waiting))
		for i := range waiting {
			names[i] = waiting[i].Name
		}
		setCondition(&st.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, "SitesNotReady", "not ready: "+some(names), generation)
	case a.failed != nil:
		setCondition(&st.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, "NotApplied", "some objects could not be applied", generation)
	default:
		setCondition(&st.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, "AllSitesReady", "", generation)
	}
}
