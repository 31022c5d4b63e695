package v1alpha2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// JobPhase is where a job stands.
type JobPhase string

// The phases of a job.
const (
	JobInit       JobPhase = "Init"       // its nodes are known, none has begun
	JobInProgress JobPhase = "InProgress" // nodes work, or wait for their turn
	JobCompleted  JobPhase = "Completed"  // no node is left, and no more failed than failureTolerate allows
	JobFailure    JobPhase = "Failure"    // too many failed, or it was cancelled; see the reason
)

// Reasons of JobStatus.
const (
	ReasonPaused           = "Paused"           // spec.paused
	ReasonCancelled        = "Cancelled"        // spec.cancel
	ReasonNoNodes          = "NoNodes"          // no nodes were matched with the selector
	ReasonTolerance        = "FailureTolerate"  // more nodes failed than failureTolerate allows
	ReasonThreshold        = "SuccessThreshold" // a batch cannot reach its successThreshold
	ReasonWindowClosed     = "WindowClosed"     // nodes wait for window.apply or window.download
	ReasonWaitingForJob    = "WaitingForJob"    // nodes are busy with an older job
	ReasonNodesAway        = "NodesAway"        // what is left are nodes that are away
	ReasonNoReport         = "NoReport"         // nodes with a link say nothing of the job: their edgecore may not know it
	ReasonDisruptionBudget = "DisruptionBudget" // nodes wait for the budget of their group
	ReasonInvalidSpec      = "InvalidSpec"      // a field has a value that the schema cannot check
)

// NodeTaskPhase is where a node stands in a job.
//
// +kubebuilder:validation:Enum="";Pending;InProgress;Successful;Failure;RolledBack;Unknown
type NodeTaskPhase string

// The phases of a node.
const (
	NodePending    NodeTaskPhase = "Pending"    // it has not begun to apply
	NodeInProgress NodeTaskPhase = "InProgress" // it has accepted the job and applies it
	NodeSuccessful NodeTaskPhase = "Successful"
	NodeFailure    NodeTaskPhase = "Failure"    // it is as it was before
	NodeRolledBack NodeTaskPhase = "RolledBack" // it was changed, and went back; counts as failed
	NodeUnknown    NodeTaskPhase = "Unknown"    // it took longer than timeoutSeconds; counts as failed until it reports
)

// Final reports whether a node says of itself that it has ended.
func (p NodeTaskPhase) Final() bool {
	return p == NodeSuccessful || p == NodeFailure || p == NodeRolledBack
}

// Reasons of a node's phase that the cloud gives. The node's own reasons stand beside them.
const (
	ReasonTimedOut         = "TimedOut"         // Unknown: it took longer than timeoutSeconds
	ReasonNodeNotFound     = "NodeNotFound"     // Failure: there is no edge node of this name
	ReasonDeadlineExceeded = "DeadlineExceeded" // Failure: it has not begun before the deadline
)

// Action is a step of a node in a job.
type Action string

// The steps. A NodeUpgradeJob has Check, WaitingConfirmation, BackUp, Upgrade and, on failure,
// RollBack; an ImagePrePullJob has Check and Pull; a ConfigUpdateJob has Check, BackUp, Update
// and, on failure, RollBack.
const (
	ActionCheck               Action = "Check" // of an upgrade: the artefact is downloaded and verified
	ActionWaitingConfirmation Action = "WaitingConfirmation"
	ActionBackUp              Action = "BackUp"
	ActionUpgrade             Action = "Upgrade"
	ActionRollBack            Action = "RollBack"
	ActionPull                Action = "Pull"
	ActionUpdate              Action = "Update"
)

// ActionStatus is what became of one step.
type ActionStatus struct {
	// Action is the step.
	// +kubebuilder:validation:MaxLength=64
	Action Action `json:"action"`
	// Status is True when the step is done and False when it has failed. Unknown: it runs.
	Status metav1.ConditionStatus `json:"status,omitempty"`
	// Reason why it has failed, or for what it waits.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// Time of the last change, by the node's clock.
	Time *metav1.Time `json:"time,omitempty"`
}

// ImageStatus is what became of one image.
type ImageStatus struct {
	// Image is its name.
	// +kubebuilder:validation:MaxLength=1024
	Image string `json:"image"`
	// Status is True when the node has the image and False when it cannot be pulled.
	Status metav1.ConditionStatus `json:"status,omitempty"`
	// Reason why it cannot be pulled.
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
}

// NodeTaskStatus is what a node says of its part in a job.
type NodeTaskStatus struct {
	// Phase of the node.
	Phase NodeTaskPhase `json:"phase,omitempty"`
	// Reason of the phase, one word in CamelCase.
	// +kubebuilder:validation:MaxLength=256
	Reason string `json:"reason,omitempty"`
	// Message says the same in a sentence, with the remedy.
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// ActionFlow has the steps so far, in their order.
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	ActionFlow []ActionStatus `json:"actionFlow,omitempty"`
	// CurrentVersion is the version that the node runs now.
	// +kubebuilder:validation:MaxLength=128
	CurrentVersion string `json:"currentVersion,omitempty"`
	// HistoricVersion is the version that it ran before.
	// +kubebuilder:validation:MaxLength=128
	HistoricVersion string `json:"historicVersion,omitempty"`
	// ImageStatus has the images of an ImagePrePullJob.
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	ImageStatus []ImageStatus `json:"imageStatus,omitempty"`
}

// Done reports whether a step is done.
func (s *NodeTaskStatus) Done(a Action) bool {
	for i := range s.ActionFlow {
		if s.ActionFlow[i].Action == a {
			return s.ActionFlow[i].Status == metav1.ConditionTrue
		}
	}
	return false
}

// MaxNodeStatus is how many nodes a job's status has.
const MaxNodeStatus = 50

// JobStatus is the status of a job of any kind.
type JobStatus struct {
	// Phase of the job.
	// +kubebuilder:validation:Enum="";Init;InProgress;Completed;Failure
	Phase JobPhase `json:"phase,omitempty"`
	// Reason of the phase, or why nothing goes on for now; one word in CamelCase.
	Reason string `json:"reason,omitempty"`
	// Message says the same in a sentence.
	// +kubebuilder:validation:MaxLength=2048
	Message string `json:"message,omitempty"`
	// ObservedGeneration is the generation of the spec that the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// StartTime is when the first node was given the job.
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// CompletionTime is when the job ended. Nodes begin no more after it.
	CompletionTime *metav1.Time `json:"completionTime,omitempty"`
	// Batch is the number of the batch whose turn it is, from 1 on. The last one has the
	// nodes that are in no batch of the rollout.
	Batch int32 `json:"batch,omitempty"`
	// Progress is "successful/total", for people.
	Progress string `json:"progress,omitempty"`
	// Nodes counts the nodes.
	Nodes NodeCounts `json:"nodes,omitempty"`
	// NodeStatus has the nodes that failed, at most 50; of a job of at most 50 nodes it has
	// all. A NodeJobResult has everything about one node.
	// +kubebuilder:validation:MaxItems=50
	// +listType=map
	// +listMapKey=nodeName
	NodeStatus []NodeStatus `json:"nodeStatus,omitempty"`
	// State is the phase in the words of v1alpha1.
	State string `json:"state,omitempty"`
}

// NodeCounts counts the nodes of a job by where they stand.
type NodeCounts struct {
	// Total is the number of all.
	Total int32 `json:"total"`
	// Pending have not begun to apply.
	Pending int32 `json:"pending,omitempty"`
	// InProgress have begun and not ended.
	InProgress int32 `json:"inProgress,omitempty"`
	// Successful have ended well.
	Successful int32 `json:"successful,omitempty"`
	// Failed have not: Failure, RolledBack and Unknown.
	Failed int32 `json:"failed"`
	// RolledBack are those of Failed that went back to what they were.
	RolledBack int32 `json:"rolledBack,omitempty"`
	// Unknown are those of Failed whose result may still come.
	Unknown int32 `json:"unknown,omitempty"`
	// NotStarted are those of Failed that were never given the job: there is no such node, or
	// the deadline was over.
	NotStarted int32 `json:"notStarted,omitempty"`
	// Cancelled had the job and dropped it, because it was cancelled or had failed elsewhere.
	Cancelled int32 `json:"cancelled,omitempty"`
	// Away are those of Pending that have no link.
	Away int32 `json:"away,omitempty"`
}

// NodeStatus is what one node did, in the status of its job.
type NodeStatus struct {
	// NodeName is the node.
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName"`

	NodeTaskStatus `json:",inline"`
}
