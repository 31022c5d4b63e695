package jobs

import (
	"encoding/json"
	"time"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Status is what the node says of one job, to whoever asks at the machine.
type Status struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	UID  string `json:"uid"`
	// Local says that somebody at the machine began the job: the cloud does not know it.
	Local bool `json:"local,omitempty"`
	// Phase is that of the report: Pending, InProgress, Successful, Failure or RolledBack.
	Phase   string `json:"phase"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// WaitingSince is since when the job waits for a confirmation; nil if it does not.
	WaitingSince *time.Time `json:"waitingSince,omitempty"`
	From         string     `json:"from,omitempty"`    // the version before an upgrade
	Version      string     `json:"version,omitempty"` // that an upgrade is to bring
	Actions      []string   `json:"actions,omitempty"` // those that were reported, as "Check True"
	// Log is the end of the log of a program that was rolled back.
	Log string `json:"log,omitempty"`
}

// Finished reports whether the job is at its end.
func (s Status) Finished() bool {
	return s.Phase != string(v1alpha2.NodePending) && s.Phase != string(v1alpha2.NodeInProgress)
}

// List is what GET /api/v1/taskupgrade/jobs answers.
type List struct {
	Items []Status `json:"items"`
	// Starting says that edgecore has just started and Items are not known yet.
	Starting bool `json:"starting,omitempty"`
	// Upgrade is what the upgrade of the program itself is at: the slots and the boot record.
	Upgrade json.RawMessage `json:"upgrade,omitempty"`
}

// LocalUpgrade is an upgrade that somebody at the machine asks for, the body of POST
// /api/v1/taskupgrade/upgrade. One of File, OCI and HTTP is set.
type LocalUpgrade struct {
	File string `json:"file,omitempty"` // absolute path of an OCI image layout in a tar
	OCI  string `json:"oci,omitempty"`  // reference of an image
	HTTP string `json:"http,omitempty"` // URL of an OCI image layout in a tar
	// Digest is that of the artefact, sha256:HEX, if it is known.
	Digest string `json:"digest,omitempty"`
	// Timeout and Stable are those of the health gate, in nanoseconds; 0 means 5 minutes and 1
	// minute.
	Timeout time.Duration `json:"timeout,omitempty"`
	Stable  time.Duration `json:"stable,omitempty"`
}

// Refusal is the body of POST /api/v1/taskupgrade/refuse-upgrade.
type Refusal struct {
	Job    string `json:"job"`              // NAME or KIND/NAME
	Reason string `json:"reason,omitempty"` // for the job's status
}

// Rollback is the body of POST /api/v1/taskupgrade/rollback.
type Rollback struct {
	To string `json:"to,omitempty"` // a version; empty means the one before
}
