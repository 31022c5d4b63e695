package jobs

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// versionForm is what a version of edgecore looks like.
const versionForm = `^v[0-9]+\.[0-9]+\.[0-9]+([-+][A-Za-z0-9_.+-]+)?$`

// download is the action Check of an upgrade: the check items, and the artefact, which is fetched
// into the free slot and verified.
func (r *Runner) download(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	want := rec.Job.Upgrade
	fail := func(reason string, err error) error {
		if ctx.Err() != nil {
			return nil
		}
		return r.change(ctx, name, func(next *record) {
			now := r.cfg.Now()
			next.set(v1alpha2.ActionCheck, metav1.ConditionFalse, err.Error(), now)
			next.end(v1alpha2.NodeFailure, reason, err.Error(), now)
		})
	}
	if r.cfg.Programs == nil {
		return fail(ReasonUnsupported, errors.New("this node does not upgrade itself: its edgecore was started with --no-upgrades"))
	}
	if rec.Local == nil && !regexp.MustCompile(versionForm).MatchString(want.Version) {
		return fail(ReasonCheckFailed, fmt.Errorf("version %.100q is none like v1.2.3", want.Version))
	}
	if rec.Local == nil && want.Version == r.cfg.Version {
		return r.change(ctx, name, func(next *record) {
			now := r.cfg.Now()
			next.set(v1alpha2.ActionCheck, metav1.ConditionTrue, "the node runs this version", now)
			next.end(v1alpha2.NodeSuccessful, ReasonUpToDate, "the node runs "+want.Version, now)
		})
	}
	if err := r.change(ctx, name, func(next *record) {
		next.set(v1alpha2.ActionCheck, metav1.ConditionUnknown, "", r.cfg.Now())
		next.say(v1alpha2.NodePending, ReasonDownloading, "")
	}); err != nil {
		return err
	}
	if err := checkItems(ctx, items(want.CheckItems), r.cfg.Usage); err != nil {
		return fail(ReasonCheckFailed, err)
	}
	request, err := r.request(rec)
	if err != nil {
		return fail(ReasonDownloadFailed, err)
	}
	slot, err := r.fetch(ctx, request)
	if err != nil {
		return fail(ReasonDownloadFailed, err)
	}
	return r.change(ctx, name, func(next *record) {
		next.Step, next.Slot = stepChecked, slot
		next.set(v1alpha2.ActionCheck, metav1.ConditionTrue, "", r.cfg.Now())
		next.say(v1alpha2.NodePending, "", "")
	})
}

// fetch downloads for at most Config.DownloadTimeout.
func (r *Runner) fetch(ctx context.Context, request upgrade.Request) (upgrade.Slot, error) {
	bounded, cancel := context.WithTimeout(ctx, r.cfg.DownloadTimeout)
	defer cancel()
	slot, err := r.cfg.Programs.Download(bounded, request)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("not downloaded within %s: %w", r.cfg.DownloadTimeout, err)
	}
	return slot, err
}

// request says what an upgrade downloads.
func (r *Runner) request(rec *record) (upgrade.Request, error) {
	want := rec.Job.Upgrade
	request := upgrade.Request{ID: rec.Job.UID, Version: want.Version, Digest: string(want.Digest)}
	if want.Signature != nil {
		request.Keys, request.TrustPolicy = want.Signature.Keys, want.Signature.TrustPolicy
	}
	switch {
	case rec.Local != nil && rec.Local.File != "":
		request.Source = rec.Local.File
	case want.HTTP != "":
		request.Source = want.HTTP
	case want.OCI != "":
		request.Source = "oci://" + want.OCI
	case r.cfg.Repository != "":
		request.Source = "oci://" + r.cfg.Repository + ":" + strings.ReplaceAll(want.Version, "+", "_") // a tag has no plus sign
	default:
		return request, errors.New("the job says neither image nor artifact, and this node has no repository: set upgrade-repository of its edgecore, or image of the job")
	}
	if len(want.PlatformDigests) > 0 {
		digest, ok := want.PlatformDigests[runtime.GOARCH]
		if !ok {
			return request, fmt.Errorf("the job has digests for other platforms than this node's, %s: add it to imageDigestGatter, or use artifact.digest", runtime.GOARCH)
		}
		if request.Digest == "" {
			request.Digest = string(digest)
		}
	}
	return request, nil
}

// acceptUpgrade accepts the job and begins the trial, once the node has settled. From here on the
// job goes on to its end.
func (r *Runner) acceptUpgrade(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	if _, err := r.settle(ctx, name, gateOf(rec.Job.Upgrade.Health, rec.Job.Upgrade.RollbackOnFailure)); err != nil {
		return err
	}
	accepted, err := r.changeFrom(ctx, name, stepChecked, func(next *record) {
		now := r.cfg.Now()
		next.accept(now)
		next.Step, next.Waiting = stepSwitched, nil
		next.set(v1alpha2.ActionWaitingConfirmation, metav1.ConditionTrue, "", now)
		next.set(v1alpha2.ActionBackUp, metav1.ConditionTrue, bound("the node keeps "+r.cfg.Version+", and goes back to it if the new version fails", 1024), now)
		next.set(v1alpha2.ActionUpgrade, metav1.ConditionUnknown, "", now)
		next.Report.HistoricVersion = r.cfg.Version
	})
	if err == nil && !accepted { // another node has its turn
		err = r.sayNotSettling(ctx, name)
	}
	if err != nil || !accepted {
		return err
	}
	r.send(ctx)
	return r.switchProgram(ctx, name)
}

// switchProgram begins the trial, and has the program start again. It is done again when the power
// was cut before the trial had begun.
func (r *Runner) switchProgram(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	h := gateOf(rec.Job.Upgrade.Health, rec.Job.Upgrade.RollbackOnFailure)
	if err := r.settleAccepted(ctx, name, h); err != nil {
		return err
	}
	request, err := r.request(rec)
	var slot upgrade.Slot
	if err == nil {
		slot, err = r.fetch(ctx, request) // at once, if it is there as it was verified
	}
	if err == nil {
		err = r.cfg.Programs.Switch(ctx, slot, h)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return r.change(ctx, name, func(next *record) { next.end(v1alpha2.NodeFailure, ReasonSwitchFailed, err.Error(), r.cfg.Now()) })
	}
	r.log.Info("edgecore starts again for an upgrade", "job", rec.Job.Name, "version", rec.Job.Upgrade.Version, "slot", slot.String())
	r.cfg.Restart()
	return nil
}

// startOnly is how long a program must run that is not to be rolled back for the node's state.
const startOnly = 5 * time.Second

// gateOf is the health gate of a job. Without a rollback on failure the program only has to start.
func gateOf(h Health, rollback bool) upgrade.Health {
	if !rollback {
		return upgrade.Health{Timeout: upgrade.DefaultTimeout, Stable: startOnly, IgnoreLink: true, IgnorePods: true}
	}
	return upgrade.Health{Timeout: h.Timeout.Duration, Stable: h.Stable.Duration, IgnoreLink: !h.RequireLink, IgnorePods: !h.RequirePodsReady}
}

func items(all []v1alpha2.CheckItem) []string {
	out := make([]string, 0, len(all))
	for _, i := range all {
		out = append(out, string(i))
	}
	return out
}
