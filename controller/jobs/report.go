package jobs

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/hub"
)

// Writers returns the writers of a node's reports, by resource.
func (c *Controller) Writers() map[string]nodesync.Writer {
	return map[string]nodesync.Writer{nodejobs.ReportResource: c.writeReport}
}

// writeReport stores what a node says of one of its jobs in the status of its result. A node
// reaches its own results only: their names are made of the name of its certificate.
func (c *Controller) writeReport(ctx context.Context, node string, obj hub.Object) error {
	if obj.Deleted {
		return nil // the node has tidied up
	}
	kind, name, ok := nodejobs.ParseKey(obj.Key.Name)
	if !ok || obj.Key.Namespace != "" {
		c.counts.refused.Add(1)
		return nodesync.Invalid(obj.Key, fmt.Errorf("%q is no key of a job", obj.Key.Name))
	}
	report, err := nodejobs.DecodeReport(obj.Body)
	if err != nil {
		c.counts.refused.Add(1)
		return nodesync.Invalid(obj.Key, err)
	}
	if c.results.failed(report.UID) >= wholeLogs {
		report.Log = strings.ToValidUTF8(report.Log[max(0, len(report.Log)-shortLog):], "")
	}
	res, err := c.resultFor(ctx, kind, name, report.UID, node)
	for try := 0; ; try++ {
		if err != nil {
			return nodesync.FromAPI(err)
		}
		if res == nil {
			return nil // the job is gone
		}
		if res.Spec.NodeName != node || res.Spec.Kind != kind || res.Spec.Job != name {
			c.counts.refused.Add(1)
			return nodesync.Forbidden(obj.Key, "the job of this uid is another")
		}
		next, changed := merge(&res.Status, report, time.Now())
		if !changed {
			return nil
		}
		own := res.DeepCopy()
		own.Status = *next
		_, err = c.updateResultStatus(ctx, own)
		if err == nil {
			c.counts.reports.Add(1)
			return nil
		}
		if apierrors.IsNotFound(err) {
			c.removeResult(res)
			return nil
		}
		if !apierrors.IsConflict(err) || try == maxConflicts {
			return nodesync.FromAPI(err)
		}
		res, err = c.reload(ctx, res)
	}
}

// Of so many nodes of a job that failed the whole log is stored, of others its end: logs of all
// nodes of a large fleet would fill etcd.
const (
	wholeLogs = 100
	shortLog  = 4 << 10
)

// maxConflicts is how often a write is tried again at once when another was faster.
const maxConflicts = 4

// resultFor returns the result of a node, from the API server if it is not known here; nil if
// there is none.
func (c *Controller) resultFor(ctx context.Context, kind, name, uid, node string) (*v1alpha2.NodeJobResult, error) {
	if i := c.results.get(uid, node); i != nil {
		return i.res, nil
	}
	u, err := c.resultClient().Get(ctx, resultName(kind, name, uid, node), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return c.store(u)
}

// merge is the status of a result after a report, and whether it differs. It is pure. What a
// node once said of its end stays: a report that arrives late may be of a time before it.
// What the cloud said in its place gives way.
func merge(old *v1alpha2.NodeJobResultStatus, report *nodejobs.Report, now time.Time) (*v1alpha2.NodeJobResultStatus, bool) {
	if old.Reported && old.Phase.Final() {
		return old, false
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	next := &v1alpha2.NodeJobResultStatus{
		NodeTaskStatus: report.NodeTaskStatus, AcceptedTime: report.AcceptedTime, FinishedTime: report.FinishedTime,
		ObservedAcceptedTime: old.ObservedAcceptedTime, Reported: true,
	}
	dropped := report.Phase == v1alpha2.NodeFailure && report.Reason == v1alpha2.ReasonCancelled
	began := report.AcceptedTime != nil || report.Phase == v1alpha2.NodeInProgress || report.Phase.Final() && report.Phase != v1alpha2.NodeFailure
	if began && next.ObservedAcceptedTime == nil {
		next.ObservedAcceptedTime = &at
	}
	if report.Phase.Final() {
		next.ObservedFinishedTime = &at
	}
	if (report.Phase == v1alpha2.NodeFailure || report.Phase == v1alpha2.NodeRolledBack) && !dropped {
		next.Log = report.Log
	}
	verdict := !old.Reported && (old.Phase == v1alpha2.NodeUnknown || old.Phase == v1alpha2.NodeFailure && !began)
	if verdict && (!report.Phase.Final() || dropped) {
		// It is late still: only its end counts, or that it had begun before the deadline. One
		// that drops the job leaves the reason why it did not do it.
		next.Phase, next.Reason, next.Message, next.Reported = old.Phase, old.Reason, old.Message, dropped
		next.ObservedFinishedTime = old.ObservedFinishedTime
	}
	return next, !equality.Semantic.DeepEqual(old, next)
}
