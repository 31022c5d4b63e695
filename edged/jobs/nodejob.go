package jobs

import (
	"errors"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// The resources by which cloud and node speak of jobs. Their keys have no namespace; the name
// is that of Key.
const (
	Resource       = resources.NodeJobs       // down: a NodeJob
	ReportResource = resources.NodeJobReports // up: a Report
)

// Bounds of what is decoded, in bytes.
const (
	MaxNodeJob = 1536 << 10 // of a NodeJob: 128 settings of 8 KiB, and room
	MaxReport  = 1 << 20    // of a Report: a log whose every byte is escaped, and room
	MaxLog     = 64 << 10   // of Report.Log
)

// Bounds of the lists in a Report, as the schema of NodeJobResult has them.
const (
	maxActions = 16
	maxImages  = 256
)

// NodeJob is one job as one node gets it.
type NodeJob struct {
	// Kind of the job: v1alpha2.KindNodeUpgradeJob, KindImagePrePullJob or
	// KindConfigUpdateJob.
	Kind string `json:"kind"`
	// Name of the job.
	Name string `json:"name"`
	// UID of the job. A job of the same kind and name with another UID is another job.
	UID string `json:"uid"`
	// Generation of the job that Phase is about.
	Generation int64 `json:"generation"`
	// Phase is what the node may do.
	Phase v1alpha2.Permission `json:"phase"`
	// TimeoutSeconds is how long the node may take once it has accepted; never 0.
	TimeoutSeconds int32 `json:"timeoutSeconds"`

	// Exactly one of these is set, that of Kind.
	Upgrade      *Upgrade      `json:"upgrade,omitempty"`
	ImagePrePull *ImagePrePull `json:"imagePrePull,omitempty"`
	ConfigUpdate *ConfigUpdate `json:"configUpdate,omitempty"`
}

// Upgrade is what a NodeUpgradeJob asks of a node.
type Upgrade struct {
	// Version of edgecore.
	Version string `json:"version"`
	// OCI is the reference of the artefact, with tag or digest; HTTP is the URL of one in a
	// tar file. Both empty: the tag Version in the repository of the node's configuration.
	OCI  string `json:"oci,omitempty"`
	HTTP string `json:"http,omitempty"`
	// Digest that the index or the manifest must have; empty: any.
	Digest v1alpha2.Digest `json:"digest,omitempty"`
	// PlatformDigests are the digests that the manifest for a platform must have, by
	// Go's name of the architecture, for example arm64.
	PlatformDigests map[string]v1alpha2.Digest `json:"platformDigests,omitempty"`
	// Signature says by whom it must be signed; nil: by any whom the node trusts.
	Signature *v1alpha2.Signature `json:"signature,omitempty"`
	// CheckItems are checked before the node begins.
	CheckItems []v1alpha2.CheckItem `json:"checkItems,omitempty"`
	// RequireConfirmation wants a yes at the machine, once Phase is Apply.
	RequireConfirmation bool `json:"requireConfirmation,omitempty"`
	// RollbackOnFailure brings the node back if it is not healthy afterwards.
	RollbackOnFailure bool `json:"rollbackOnFailure"`
	// Health says how the node judges itself.
	Health Health `json:"health"`
}

// ImagePrePull is what an ImagePrePullJob asks of a node.
type ImagePrePull struct {
	// Images to pull.
	Images []string `json:"images"`
	// ImageSecrets is the pull secret, NAMESPACE/NAME; empty: none.
	ImageSecrets string `json:"imageSecrets,omitempty"`
	// DockerConfigJSON is the content of that secret in the form of .dockerconfigjson; empty:
	// none, or cloudcore may not read it, which Message of the failure then should say.
	DockerConfigJSON []byte `json:"dockerConfigJSON,omitempty"`
	// RetryTimes is how often a failed pull is tried again.
	RetryTimes int32 `json:"retryTimes,omitempty"`
	// CheckItems are checked before the node begins.
	CheckItems []v1alpha2.CheckItem `json:"checkItems,omitempty"`
}

// ConfigUpdate is what a ConfigUpdateJob asks of a node.
type ConfigUpdate struct {
	// UpdateFields are the settings to change.
	UpdateFields map[string]v1alpha2.FieldValue `json:"updateFields"`
	// RollbackOnFailure brings the node back if it is not healthy afterwards.
	RollbackOnFailure bool `json:"rollbackOnFailure"`
	// Health says how the node judges itself.
	Health Health `json:"health"`
}

// Health is v1alpha2.Health with its defaults filled in.
type Health struct {
	Timeout          metav1.Duration `json:"timeout"`          // how long the node may take to become healthy
	Stable           metav1.Duration `json:"stable"`           // how long it must then stay so
	RequireLink      bool            `json:"requireLink"`      // the link to the cloud, if there was one before
	RequirePodsReady bool            `json:"requirePodsReady"` // the pods that were ready before
}

// Report is what a node says of one of its jobs. Times are the node's own.
type Report struct {
	// UID and Generation are those of the NodeJob that it is about.
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`

	v1alpha2.NodeTaskStatus `json:",inline"`

	// Log is the end of the node's log about the job, at most MaxLog bytes, without secrets.
	Log string `json:"log,omitempty"`
	// AcceptedTime is when the node began to apply the job; nil before that.
	AcceptedTime *metav1.Time `json:"acceptedTime,omitempty"`
	// FinishedTime is when it ended; nil before that.
	FinishedTime *metav1.Time `json:"finishedTime,omitempty"`
}

// Key is the name of a job's keys on the link, for example nodeupgradejob.v1-24. The kind is
// one of v1alpha2's.
func Key(kind, name string) string { return strings.ToLower(kind) + "." + name }

// Kinds returns the kinds of jobs.
func Kinds() []string {
	return []string{v1alpha2.KindNodeUpgradeJob, v1alpha2.KindImagePrePullJob, v1alpha2.KindConfigUpdateJob}
}

// ParseKey splits what Key joined. It reports false for what is no key of a job.
func ParseKey(key string) (kind, name string, ok bool) {
	lower, name, _ := strings.Cut(key, ".")
	for _, kind := range Kinds() {
		if strings.ToLower(kind) == lower && validName(name) {
			return kind, name, true
		}
	}
	return "", "", false
}

// validName reports whether name is a DNS subdomain, as the API server wants names of jobs.
func validName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	before := byte('.')
	for i := range len(name) + 1 {
		c := byte('.') // the end is like a dot
		if i < len(name) {
			c = name[i]
		}
		switch {
		case c == '.' && (before == '.' || before == '-'), c == '-' && before == '.':
			return false
		case c != '.' && c != '-' && (c < 'a' || c > 'z') && (c < '0' || c > '9'):
			return false
		}
		before = c
	}
	return true
}

// DecodeNodeJob decodes and checks a NodeJob. Fields that it does not know are left out, since
// a newer cloud may send them; everything else that is wrong is an error that names the field.
// It allocates at most 20 bytes for each byte of body.
func DecodeNodeJob(body []byte) (*NodeJob, error) {
	if len(body) > MaxNodeJob {
		return nil, fmt.Errorf("jobs: a job of %d bytes is over the limit of %d", len(body), MaxNodeJob)
	}
	job := new(NodeJob)
	if err := jsonlimit.Unmarshal(body, job); err != nil {
		return nil, fmt.Errorf("jobs: a job cannot be read: %w", err)
	}
	if err := job.check(); err != nil {
		return nil, fmt.Errorf("jobs: job %q: %w", clip(job.Name), err)
	}
	return job, nil
}

// check reports what is wrong with a job.
func (j *NodeJob) check() error {
	switch {
	case !validName(j.Name):
		return errors.New("name is no name of a Kubernetes object")
	case j.UID == "" || len(j.UID) > 63:
		return errors.New("uid is empty or too long")
	case j.TimeoutSeconds <= 0:
		return errors.New("timeoutSeconds must be 1 or more")
	}
	switch j.Phase {
	case v1alpha2.Download, v1alpha2.Apply, v1alpha2.Paused, v1alpha2.Cancelled:
	default:
		return fmt.Errorf("phase %q is none of Download, Apply, Paused and Cancelled", clip(string(j.Phase)))
	}
	want := map[string]bool{v1alpha2.KindNodeUpgradeJob: j.Upgrade != nil, v1alpha2.KindImagePrePullJob: j.ImagePrePull != nil, v1alpha2.KindConfigUpdateJob: j.ConfigUpdate != nil}
	own, known := want[j.Kind]
	if !known {
		return fmt.Errorf("kind %q is not known to this release of edgecore", clip(j.Kind))
	}
	set := 0
	for _, is := range want {
		if is {
			set++
		}
	}
	if !own || set != 1 {
		return fmt.Errorf("a %s must have its own part (upgrade, imagePrePull or configUpdate) and no other", j.Kind)
	}
	switch {
	case j.Upgrade != nil && j.Upgrade.Version == "":
		return errors.New("upgrade.version is empty")
	case j.Upgrade != nil && j.Upgrade.OCI != "" && j.Upgrade.HTTP != "":
		return errors.New("upgrade has oci and http: it may have one of them")
	case j.ImagePrePull != nil && len(j.ImagePrePull.Images) == 0:
		return errors.New("imagePrePull.images is empty")
	case j.ConfigUpdate != nil && len(j.ConfigUpdate.UpdateFields) == 0:
		return errors.New("configUpdate.updateFields is empty")
	}
	return nil
}

// DecodeReport decodes and checks a Report. Fields that it does not know are left out, since a
// newer node may send them; texts and lists over their bounds are errors that name the field.
// It allocates at most 20 bytes for each byte of body.
func DecodeReport(body []byte) (*Report, error) {
	if len(body) > MaxReport {
		return nil, fmt.Errorf("jobs: a report of %d bytes is over the limit of %d", len(body), MaxReport)
	}
	report := new(Report)
	if err := jsonlimit.Unmarshal(body, report); err != nil {
		return nil, fmt.Errorf("jobs: a report cannot be read: %w", err)
	}
	if err := report.check(); err != nil {
		return nil, fmt.Errorf("jobs: a report: %w", err)
	}
	return report, nil
}

// check reports what is wrong with a report.
func (r *Report) check() error {
	switch r.Phase {
	case v1alpha2.NodePending, v1alpha2.NodeInProgress, v1alpha2.NodeSuccessful, v1alpha2.NodeFailure, v1alpha2.NodeRolledBack, v1alpha2.NodeUnknown:
	default:
		return fmt.Errorf("phase %q is not known", clip(string(r.Phase)))
	}
	if r.UID == "" || len(r.UID) > 63 {
		return errors.New("uid is empty or too long")
	}
	for _, field := range []struct {
		name, text string
		limit      int
	}{
		{"reason", r.Reason, 256}, {"message", r.Message, 2048}, {"currentVersion", r.CurrentVersion, 128},
		{"historicVersion", r.HistoricVersion, 128}, {"log", r.Log, MaxLog},
	} {
		if len(field.text) > field.limit {
			return fmt.Errorf("%s has %d bytes, the limit is %d", field.name, len(field.text), field.limit)
		}
	}
	if len(r.ActionFlow) > maxActions || len(r.ImageStatus) > maxImages {
		return fmt.Errorf("actionFlow has %d and imageStatus %d entries, the limits are %d and %d", len(r.ActionFlow), len(r.ImageStatus), maxActions, maxImages)
	}
	for i, a := range r.ActionFlow {
		if a.Action == "" || len(a.Action) > 64 || len(a.Reason) > 1024 || !validStatus(a.Status) {
			return fmt.Errorf("actionFlow[%d]: action, status or reason is wrong or too long", i)
		}
	}
	for i, image := range r.ImageStatus {
		if image.Image == "" || len(image.Image) > 1024 || len(image.Reason) > 1024 || !validStatus(image.Status) {
			return fmt.Errorf("imageStatus[%d]: image, status or reason is wrong or too long", i)
		}
	}
	return nil
}

func validStatus(s metav1.ConditionStatus) bool {
	return s == "" || s == metav1.ConditionTrue || s == metav1.ConditionFalse || s == metav1.ConditionUnknown
}

// clip bounds a text of somebody else in an error.
func clip(s string) string { return s[:min(len(s), 64)] }
