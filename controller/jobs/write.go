package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// jobResource returns the resource of a kind of jobs.
func jobResource(kind string) string {
	switch kind {
	case v1alpha2.KindNodeUpgradeJob:
		return v1alpha2.NodeUpgradeJobs
	case v1alpha2.KindImagePrePullJob:
		return v1alpha2.ImagePrePullJobs
	}
	return v1alpha2.ConfigUpdateJobs
}

func (c *Controller) resultClient() dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1alpha2.GroupVersion().WithResource(v1alpha2.NodeJobResults))
}

func (c *Controller) jobClient(kind string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1alpha2.GroupVersion().WithResource(jobResource(kind)))
}

// toUnstructured makes an object of the group for the dynamic client.
func toUnstructured(kind string, obj any) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, fmt.Errorf("controller/jobs: %w", err)
	}
	u := &unstructured.Unstructured{Object: content}
	u.SetAPIVersion(v1alpha2.GroupVersion().String())
	u.SetKind(kind)
	return u, nil
}

// store takes the answer to a write of a result into the index.
func (c *Controller) store(u *unstructured.Unstructured) (*v1alpha2.NodeJobResult, error) {
	res, err := cache.Decode[v1alpha2.NodeJobResult](u)
	if err != nil {
		return nil, fmt.Errorf("controller/jobs: %w", err)
	}
	strip(res)
	c.putResult(res)
	return res, nil
}

// reload reads a result again after a write that was refused; it drops one that is gone.
func (c *Controller) reload(ctx context.Context, old *v1alpha2.NodeJobResult) (*v1alpha2.NodeJobResult, error) {
	u, err := c.resultClient().Get(ctx, old.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		c.removeResult(old)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("controller/jobs: %w", err)
	}
	return c.store(u)
}

// writeGrant gives a node a permission: it makes its result, or changes it.
func (c *Controller) writeGrant(ctx context.Context, j *job, g grant, now time.Time) error {
	at := metav1.NewTime(now)
	spec := v1alpha2.NodeJobResultSpec{
		Kind: j.kind, Job: j.meta.Name, JobUID: string(j.meta.UID), NodeName: g.node,
		Batch: g.batch, Phase: g.phase, PhaseTime: &at, JobGeneration: j.meta.Generation,
	}
	have := c.results.get(spec.JobUID, g.node)
	if have == nil {
		return c.createResult(ctx, j, spec)
	}
	// The version that the decision was made from is a condition: a node that has begun
	// meanwhile is looked at again.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": have.res.ResourceVersion},
		"spec":     map[string]any{"batch": spec.Batch, "phase": spec.Phase, "phaseTime": spec.PhaseTime, "jobGeneration": spec.JobGeneration},
	})
	if err != nil {
		return fmt.Errorf("controller/jobs: %w", err)
	}
	u, err := c.resultClient().Patch(ctx, have.res.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		_, err := c.reload(ctx, have.res)
		return err
	}
	if err != nil {
		return fmt.Errorf("controller/jobs: result %s: %w", have.res.Name, err)
	}
	c.counts.grants.Add(1)
	_, err = c.store(u)
	return err
}

// fieldManager is cloudcore's for jobs and results.
const fieldManager = "edgekit-jobs"

// createResult makes the result of a node.
func (c *Controller) createResult(ctx context.Context, j *job, spec v1alpha2.NodeJobResultSpec) error {
	res := &v1alpha2.NodeJobResult{
		ObjectMeta: metav1.ObjectMeta{
			Name: resultName(j.kind, j.meta.Name, spec.JobUID, spec.NodeName),
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: v1alpha2.GroupVersion().String(), Kind: j.kind, Name: j.meta.Name, UID: j.meta.UID, Controller: new(true),
			}},
		},
		Spec: spec,
	}
	u, err := toUnstructured("NodeJobResult", res)
	if err != nil {
		return err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	u, err = c.resultClient().Create(ctx, u, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		_, err := c.reload(ctx, res)
		return err
	}
	if err != nil {
		return fmt.Errorf("controller/jobs: result of node %s: %w", spec.NodeName, err)
	}
	c.counts.grants.Add(1)
	_, err = c.store(u)
	return err
}

// writeVerdict sets the phase of a node that cannot say it itself. A report that comes at the
// same time wins.
func (c *Controller) writeVerdict(ctx context.Context, uid string, v verdict, now time.Time) error {
	have := c.results.get(uid, v.node)
	if have == nil {
		return nil
	}
	res := have.res.DeepCopy()
	res.Status.Phase, res.Status.Reason, res.Status.Message, res.Status.Reported = v.phase, v.reason, v.message, false
	at := metav1.NewTime(now)
	res.Status.ObservedFinishedTime = &at
	if _, err := c.updateResultStatus(ctx, res); err != nil {
		if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
			_, err = c.reload(ctx, have.res)
		}
		return err
	}
	if v.phase == v1alpha2.NodeUnknown {
		c.counts.timedOut.Add(1)
	}
	return nil
}

// updateResultStatus writes the status of a result if it is still the version that res has.
func (c *Controller) updateResultStatus(ctx context.Context, res *v1alpha2.NodeJobResult) (*v1alpha2.NodeJobResult, error) {
	u, err := toUnstructured("NodeJobResult", res)
	if err != nil {
		return nil, err
	}
	if u, err = c.resultClient().UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return nil, err
	}
	return c.store(u)
}

// writeJobStatus writes the status of a job if it is still the version that j has.
func (c *Controller) writeJobStatus(ctx context.Context, j *job, st *v1alpha2.JobStatus) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	c.counts.writes.Add(1)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(st)
	if err != nil {
		return fmt.Errorf("controller/jobs: %w", err)
	}
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha2.GroupVersion().String(), "kind": j.kind, "status": content,
		"metadata": map[string]any{"name": j.meta.Name, "uid": string(j.meta.UID), "resourceVersion": j.meta.ResourceVersion},
	}}
	u, err = c.jobClient(j.kind).UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: fieldManager})
	switch {
	case apierrors.IsNotFound(err):
		return nil // its watch says so soon
	case apierrors.IsConflict(err):
		c.counts.writesFailed.Add(1)
		return c.reloadJob(ctx, j)
	case err != nil:
		c.counts.writesFailed.Add(1)
		return fmt.Errorf("controller/jobs: status of %s %s: %w", j.kind, j.meta.Name, err)
	}
	return c.storeJob(j.kind, u)
}

// storeJob takes a job from the API server.
func (c *Controller) storeJob(kind string, u *unstructured.Unstructured) error {
	j, err := parseJob(kind, u)
	if err != nil {
		return fmt.Errorf("controller/jobs: %s %s: %w", kind, u.GetName(), err)
	}
	c.putJob(j)
	return nil
}

func (c *Controller) reloadJob(ctx context.Context, j *job) error {
	u, err := c.jobClient(j.kind).Get(ctx, j.meta.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("controller/jobs: %s %s: %w", j.kind, j.meta.Name, err)
	}
	return c.storeJob(j.kind, u)
}

// parseJob reads a job of a kind.
func parseJob(kind string, u *unstructured.Unstructured) (*job, error) {
	switch kind {
	case v1alpha2.KindNodeUpgradeJob:
		o, err := cache.Decode[v1alpha2.NodeUpgradeJob](u)
		return newUpgrade(o), err
	case v1alpha2.KindImagePrePullJob:
		o, err := cache.Decode[v1alpha2.ImagePrePullJob](u)
		return newPrePull(o), err
	}
	o, err := cache.Decode[v1alpha2.ConfigUpdateJob](u)
	return newConfigUpdate(o), err
}

// deleteJob deletes a job whose ttlSecondsAfterFinished is over. Its results go with it.
func (c *Controller) deleteJob(ctx context.Context, j *job) error {
	if err := c.limit.Wait(ctx); err != nil {
		return err
	}
	c.counts.writes.Add(1)
	err := c.jobClient(j.kind).Delete(ctx, j.meta.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &j.meta.UID}, PropagationPolicy: new(metav1.DeletePropagationBackground),
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("controller/jobs: delete %s %s: %w", j.kind, j.meta.Name, err)
	}
	c.jobGone(j)
	return nil
}
