package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

const (
	// parallelPulls is how many images of a job are pulled at the same time: fewer than the
	// agent pulls, so that pods that start meanwhile do not wait for them.
	parallelPulls = 2
	// Pauses between two tries of one image.
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// pull pulls the images of a job that the node did not get yet.
func (r *Runner) pull(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	want := rec.Job.ImagePrePull
	if rec.Step == stepNew {
		if err := r.beginPull(ctx, name, want); err != nil {
			return err
		}
		if rec, ok = r.current(ctx, name); !ok || rec.Step != stepAccepted {
			return nil
		}
	}
	secrets, secretErr := pullSecrets(want)
	places := make(chan struct{}, parallelPulls)
	errs := make([]error, len(rec.Report.ImageStatus))
	var group sync.WaitGroup
	for i, image := range rec.Report.ImageStatus {
		if image.Status != metav1.ConditionUnknown {
			continue
		}
		group.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			errs[i] = r.pullOne(ctx, name, i, image.Image, want.RetryTimes, secrets, secretErr)
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil || ctx.Err() != nil {
		return err
	}
	return r.change(ctx, name, func(next *record) {
		now := r.cfg.Now()
		var failed []string
		for _, image := range next.Report.ImageStatus {
			if image.Status != metav1.ConditionTrue {
				failed = append(failed, image.Image)
			}
		}
		if len(failed) == 0 {
			next.set(v1alpha2.ActionPull, metav1.ConditionTrue, "", now)
			next.end(v1alpha2.NodeSuccessful, "", "", now)
			return
		}
		message := fmt.Sprintf("%d of %d images could not be pulled: %s", len(failed), len(next.Report.ImageStatus), strings.Join(failed, ", "))
		next.set(v1alpha2.ActionPull, metav1.ConditionFalse, message, now)
		next.end(v1alpha2.NodeFailure, ReasonImagesFailed, message, now)
	})
}

// beginPull is the action Check of a pull. If it succeeds, the job has begun.
func (r *Runner) beginPull(ctx context.Context, name string, want *ImagePrePull) error {
	reason, err := ReasonCheckFailed, error(nil)
	switch {
	case r.cfg.Images == nil:
		reason, err = ReasonUnsupported, errors.New("this node pulls no images")
	case len(want.Images) > maxImages:
		err = fmt.Errorf("a job has at most %d images", maxImages)
	default:
		err = checkItems(ctx, items(want.CheckItems), r.cfg.Usage)
	}
	_, err = r.changeFrom(ctx, name, stepNew, func(next *record) {
		now := r.cfg.Now()
		if err != nil {
			next.set(v1alpha2.ActionCheck, metav1.ConditionFalse, err.Error(), now)
			next.end(v1alpha2.NodeFailure, reason, err.Error(), now)
			return
		}
		next.accept(now)
		next.Step = stepAccepted
		next.set(v1alpha2.ActionCheck, metav1.ConditionTrue, "", now)
		next.set(v1alpha2.ActionPull, metav1.ConditionUnknown, "", now)
		next.Report.ImageStatus = nil
		for _, image := range want.Images {
			if !slices.ContainsFunc(next.Report.ImageStatus, func(s v1alpha2.ImageStatus) bool { return s.Image == image }) {
				next.Report.ImageStatus = append(next.Report.ImageStatus, v1alpha2.ImageStatus{Image: image, Status: metav1.ConditionUnknown})
			}
		}
	})
	return err
}

// pullOne pulls one image, and notes what became of it.
func (r *Runner) pullOne(ctx context.Context, name string, i int, image string, retries int32, secrets []*corev1.Secret, secretErr error) error {
	var err error
	pause := firstPause
	for try := int32(0); ; try++ {
		if err = r.cfg.Images.PullImage(ctx, image, secrets); err == nil || ctx.Err() != nil || try >= retries {
			break
		}
		r.log.Info("an image is pulled again", "image", image, "try", try+1, "err", err)
		if !sleep(ctx, pause) {
			break
		}
		pause = min(2*pause, maxPause)
	}
	if ctx.Err() != nil {
		return nil // the next run of the job goes on here
	}
	if err != nil && secretErr != nil {
		err = fmt.Errorf("%w (%w)", err, secretErr)
	}
	return r.change(ctx, name, func(next *record) {
		s := &next.Report.ImageStatus[i]
		s.Status, s.Reason = metav1.ConditionTrue, ""
		if err != nil {
			s.Status, s.Reason = metav1.ConditionFalse, bound(err.Error(), 1024)
		}
	})
}

// pullSecrets is the pull secret of a job. Without it the node's own credentials may do, and a
// public image needs none.
func pullSecrets(want *ImagePrePull) ([]*corev1.Secret, error) {
	namespace, name, ok := strings.Cut(want.ImageSecrets, "/")
	switch {
	case want.ImageSecrets == "":
		return nil, nil
	case !ok:
		return nil, fmt.Errorf("imageSecrets %.100q is not NAMESPACE/NAME", want.ImageSecrets)
	case len(want.DockerConfigJSON) == 0:
		return nil, fmt.Errorf("the cloud did not send the pull secret %s: it does not exist, has no docker configuration, or cloudcore may not read it", want.ImageSecrets)
	}
	secret := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: want.DockerConfigJSON}}
	secret.Namespace, secret.Name = namespace, name
	return []*corev1.Secret{secret}, nil
}

// PinnedImages lists the images of jobs, which must stay on the node until their jobs are gone. It
// is for edged.ImageGC.InUse.
func (r *Runner) PinnedImages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, rec := range r.records {
		if rec.Job.ImagePrePull == nil || rec.permission() == v1alpha2.Cancelled {
			continue
		}
		for _, image := range rec.Report.ImageStatus {
			if image.Status != metav1.ConditionFalse {
				out = append(out, image.Image)
			}
		}
	}
	return out
}
