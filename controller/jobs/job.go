package jobs

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Defaults of a job that was stored without those of the schema.
const (
	defaultTimeout       = 300 * time.Second
	defaultTolerate      = 0.1
	defaultThreshold     = "90%"
	defaultHealthTimeout = 5 * time.Minute
	defaultStable        = time.Minute
)

// job is a job of any kind, with its texts parsed. It is not changed once it is made.
type job struct {
	kind   string
	meta   metav1.ObjectMeta
	status v1alpha2.JobStatus

	names       []v1alpha2.NodeName // sorted, each once; nil with selector
	selector    labels.Selector     // nil with names
	concurrency int
	timeout     time.Duration // from acceptance to Unknown
	tolerate    float64
	batches     []batch // the last one takes the rest
	budget      *v1alpha2.DisruptionBudget
	paused      bool
	cancel      bool
	apply       *schedule // nil: always
	download    *schedule // nil: always
	delay       time.Duration
	deadline    time.Time // zero: none
	ttl         *time.Duration

	// downloads reports that nodes fetch something before they apply the job. disturbs reports
	// that a node that applies it counts as unavailable. keeps reports that a node needs the
	// job after its end.
	downloads, disturbs, keeps bool

	invalid string // what is wrong with the spec; "" for nothing
	node    nodejobs.NodeJob
}

// batch is a batch of a rollout.
type batch struct {
	selector  labels.Selector
	limit     *intstr.IntOrString // nil: all
	threshold intstr.IntOrString
}

// key names a job among those of all kinds.
func (j *job) key() string { return nodejobs.Key(j.kind, j.meta.Name) }

// older orders jobs by age.
func older(a, b *job) int {
	return cmp.Or(a.meta.CreationTimestamp.Compare(b.meta.CreationTimestamp.Time), cmp.Compare(a.kind, b.kind), cmp.Compare(a.meta.Name, b.meta.Name))
}

// finished reports that no node begins any more.
func (j *job) finished() bool { return j.status.CompletionTime != nil }

func newUpgrade(o *v1alpha2.NodeUpgradeJob) *job {
	j := newJob(v1alpha2.KindNodeUpgradeJob, o.ObjectMeta, o.Status, &o.Spec.Selection, &o.Spec.Control, o.Spec.Health)
	j.downloads, j.disturbs = true, true
	s := &o.Spec
	u := &nodejobs.Upgrade{
		Version: s.Version, CheckItems: s.CheckItems, RequireConfirmation: s.RequireConfirmation,
		RollbackOnFailure: orTrue(s.RollbackOnFailure), Health: health(s.Health),
	}
	switch {
	case s.Artifact != nil:
		u.HTTP, u.Digest, u.Signature = s.Artifact.HTTP, s.Artifact.Digest, s.Artifact.Signature
		u.OCI = s.Artifact.OCI
		if u.OCI != "" && !tagged(u.OCI) {
			u.OCI += ":" + tag(s.Version)
		}
	case s.Image != "":
		u.OCI = untagged(s.Image) + ":" + tag(s.Version)
	}
	if d := s.ImageDigestGetter; d != nil {
		u.Digest = cmp.Or(u.Digest, d.Value)
		u.PlatformDigests = make(map[string]v1alpha2.Digest)
		for arch, digest := range map[string]v1alpha2.Digest{"amd64": d.AMD64, "arm64": d.ARM64} {
			if digest != "" {
				u.PlatformDigests[arch] = digest
			}
		}
	}
	j.node.Upgrade = u
	return j
}

func newPrePull(o *v1alpha2.ImagePrePullJob) *job {
	t := &o.Spec.ImagePrePullTemplate
	j := newJob(v1alpha2.KindImagePrePullJob, o.ObjectMeta, o.Status, &t.Selection, &o.Spec.Control, nil)
	j.keeps = true
	j.node.ImagePrePull = &nodejobs.ImagePrePull{Images: t.Images, ImageSecrets: t.ImageSecrets, RetryTimes: t.RetryTimes, CheckItems: t.CheckItems}
	return j
}

func newConfigUpdate(o *v1alpha2.ConfigUpdateJob) *job {
	j := newJob(v1alpha2.KindConfigUpdateJob, o.ObjectMeta, o.Status, &o.Spec.Selection, &o.Spec.Control, o.Spec.Health)
	j.disturbs = true
	j.node.ConfigUpdate = &nodejobs.ConfigUpdate{
		UpdateFields: o.Spec.UpdateFields, RollbackOnFailure: orTrue(o.Spec.RollbackOnFailure), Health: health(o.Spec.Health),
	}
	return j
}

// newJob makes what jobs of all kinds have. A spec that the schema could not check is marked
// invalid.
func newJob(kind string, meta metav1.ObjectMeta, status v1alpha2.JobStatus, s *v1alpha2.Selection, c *v1alpha2.Control, h *v1alpha2.Health) *job {
	j := &job{
		kind: kind, meta: meta, status: status, names: sortedNames(s.NodeNames), concurrency: max(1, int(s.Concurrency)),
		timeout: defaultTimeout, tolerate: defaultTolerate, paused: c.Paused, cancel: c.Cancel,
	}
	if s.TimeoutSeconds != nil && *s.TimeoutSeconds > 0 {
		j.timeout = time.Duration(*s.TimeoutSeconds) * time.Second
	}
	j.node = nodejobs.NodeJob{Kind: kind, Name: meta.Name, UID: string(meta.UID), TimeoutSeconds: int32(j.timeout / time.Second)}
	if kind != v1alpha2.KindImagePrePullJob { // the node's judgement of itself comes after its work
		judged := health(h)
		j.timeout += judged.Timeout.Duration + judged.Stable.Duration
	}
	if c.PostCompleteDelay != nil {
		j.delay = max(0, c.PostCompleteDelay.Duration)
	}
	if c.Deadline != nil {
		j.deadline = meta.CreationTimestamp.Add(c.Deadline.Duration)
	}
	if c.TTLSecondsAfterFinished != nil {
		j.ttl = new(time.Duration(*c.TTLSecondsAfterFinished) * time.Second)
	}
	if err := j.parse(s, c); err != nil {
		j.invalid = err.Error()
	}
	return j
}

// parse reads the texts of a spec.
func (j *job) parse(s *v1alpha2.Selection, c *v1alpha2.Control) (err error) {
	if s.LabelSelector != nil {
		if j.selector, err = metav1.LabelSelectorAsSelector(s.LabelSelector); err != nil {
			return fmt.Errorf("labelSelector: %w", err)
		}
	} else if len(s.NodeNames) == 0 {
		return fmt.Errorf("one of nodeNames and labelSelector is needed")
	}
	if s.FailureTolerate != "" {
		if j.tolerate, err = strconv.ParseFloat(s.FailureTolerate, 64); err != nil || j.tolerate < 0 || j.tolerate > 1 {
			return fmt.Errorf("failureTolerate %q is no number from 0 to 1", s.FailureTolerate)
		}
	}
	if w := c.Window; w != nil {
		if j.apply, err = newSchedule(w.Apply); err != nil {
			return fmt.Errorf("window.apply: %w", err)
		}
		if j.download, err = newSchedule(w.Download); err != nil {
			return fmt.Errorf("window.download: %w", err)
		}
	}
	if c.Rollout != nil {
		j.budget = c.Rollout.DisruptionBudget
		for i, b := range c.Rollout.Batches {
			next := batch{selector: labels.Everything(), limit: b.Limit, threshold: intstr.FromString(defaultThreshold)}
			if b.Selector != nil {
				if next.selector, err = metav1.LabelSelectorAsSelector(b.Selector); err != nil {
					return fmt.Errorf("rollout.batches[%d].selector: %w", i, err)
				}
			}
			if b.SuccessThreshold != nil {
				next.threshold = *b.SuccessThreshold
			}
			j.batches = append(j.batches, next)
		}
	}
	j.batches = append(j.batches, batch{selector: labels.Everything(), threshold: intstr.FromInt32(0)})
	return nil
}

// forNode is the job as a node with this result gets it.
func (j *job) forNode(spec *v1alpha2.NodeJobResultSpec) *nodejobs.NodeJob {
	n := j.node
	n.Phase, n.Generation = spec.Phase, spec.JobGeneration
	return &n
}

func health(h *v1alpha2.Health) nodejobs.Health {
	out := nodejobs.Health{
		Timeout: metav1.Duration{Duration: defaultHealthTimeout}, Stable: metav1.Duration{Duration: defaultStable},
		RequireLink: true, RequirePodsReady: true,
	}
	if h == nil {
		return out
	}
	if h.Timeout != nil {
		out.Timeout = *h.Timeout
	}
	if h.Stable != nil {
		out.Stable = *h.Stable
	}
	out.RequireLink, out.RequirePodsReady = orTrue(h.RequireLink), orTrue(h.RequirePodsReady)
	return out
}

func sortedNames(names []v1alpha2.NodeName) []v1alpha2.NodeName {
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

func orTrue(b *bool) bool { return b == nil || *b }

// tag makes a tag of a version: a tag has no plus sign.
func tag(version string) string { return strings.ReplaceAll(version, "+", "_") }

// tagged reports whether a reference has a tag or a digest.
func tagged(reference string) bool {
	return strings.Contains(reference, "@") || strings.LastIndexByte(reference, ':') > strings.LastIndexByte(reference, '/')
}

// untagged takes the tag off a reference.
func untagged(reference string) string {
	if colon := strings.LastIndexByte(reference, ':'); colon > strings.LastIndexByte(reference, '/') {
		return reference[:colon]
	}
	return reference
}
