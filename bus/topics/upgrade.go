package topics

// The decisions of an UpgradeConfirmMessage.
const (
	DecisionConfirm = "confirm"
	DecisionRefuse  = "refuse"
)

// UpgradeRequestMessage says that a job waits for somebody at the site to confirm or refuse it.
// edgecore publishes it when the wait begins, and again each half minute while it lasts.
type UpgradeRequestMessage struct {
	Header
	Kind    string `json:"kind"` // of the job: NodeUpgradeJob, for example
	Job     string `json:"job"`  // its name
	UID     string `json:"uid"`  // its uid
	From    string `json:"from,omitempty"`
	Version string `json:"version,omitempty"` // that the node is upgraded to from From
	Since   int64  `json:"since"`             // when the wait began, in milliseconds since 1970
}

// UpgradeConfirmMessage confirms or refuses a job.
type UpgradeConfirmMessage struct {
	Header
	Job      string `json:"job,omitempty"`    // empty means the one that waits
	UID      string `json:"uid,omitempty"`    // if set, it must be that of the job
	Decision string `json:"decision"`         // DecisionConfirm or DecisionRefuse
	Reason   string `json:"reason,omitempty"` // why it is refused, for the job's status
}

// UpgradeResultMessage answers an UpgradeConfirmMessage, with its event_id and without a Phase;
// or it says how a job ended, with an event_id of its own.
type UpgradeResultMessage struct {
	Header
	Kind    string `json:"kind,omitempty"`
	Job     string `json:"job,omitempty"`
	UID     string `json:"uid,omitempty"`
	Phase   string `json:"phase,omitempty"`   // Successful, Failure or RolledBack
	Version string `json:"version,omitempty"` // that the node runs now
	Code    int    `json:"code,omitempty"`    // 0, or that of the error: 400, 404 or 500
	Reason  string `json:"reason,omitempty"`  // of the error, or of the end
}
