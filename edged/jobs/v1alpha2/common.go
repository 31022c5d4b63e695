package v1alpha2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// NodeName is the name of a node.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
type NodeName string

// CheckItem is a resource of which a node must have some left before it begins: a node that
// uses more than 80 % of it fails.
//
// +kubebuilder:validation:Enum=cpu;mem;disk
type CheckItem string

// The items that can be checked.
const (
	CheckCPU    CheckItem = "cpu"
	CheckMemory CheckItem = "mem"
	CheckDisk   CheckItem = "disk" // of the file system with edgecore's data
)

// Selection says which nodes a job is for and how many of them work at a time. All kinds of
// jobs have it.
type Selection struct {
	// NodeNames are the nodes of the job. A name without a node fails. A job has either
	// nodeNames or labelSelector.
	// +kubebuilder:validation:MaxItems=10000
	// +listType=atomic
	NodeNames []NodeName `json:"nodeNames,omitempty"`
	// LabelSelector selects the edge nodes of the job by their labels. A node that is
	// added to the cluster while the job runs takes part if it matches.
	LabelSelector *metav1.LabelSelector `json:"labelSelector,omitempty"`
	// Concurrency is how many nodes apply the job at the same time, in the whole cluster. 0
	// means 1.
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=0
	Concurrency int32 `json:"concurrency,omitempty"`
	// TimeoutSeconds is how long a node may take, counted from when it has accepted the job.
	// A node that takes longer becomes Unknown and frees its place; its own result still
	// counts when it comes. 0 means 300.
	// +kubebuilder:default=300
	// +kubebuilder:validation:Minimum=0
	TimeoutSeconds *int32 `json:"timeoutSeconds,omitempty"`
	// FailureTolerate is the share of the job's nodes that may fail, "0" to "1". When more
	// have failed, no further node begins and the job has failed.
	// +kubebuilder:default="0.1"
	// +kubebuilder:validation:Pattern=`^(|0|1|0?\.[0-9]{1,9}|1\.0{1,9})$`
	FailureTolerate string `json:"failureTolerate,omitempty"`
}

// Control has the fields that edgekit adds to every kind of job. All are optional. Paused and
// Cancel are the only fields of a job's spec that can be changed.
type Control struct {
	// Paused lets no further node begin. Nodes that have begun go on to their end.
	Paused bool `json:"paused,omitempty"`
	// Cancel ends the job: no further node begins, and a node that has not begun to apply
	// it drops it. It cannot be taken back.
	Cancel bool `json:"cancel,omitempty"`
	// Rollout says in which order nodes take part. Without it all are one batch.
	Rollout *Rollout `json:"rollout,omitempty"`
	// Window says when nodes may download and when they may apply. Without it: always.
	Window *Window `json:"window,omitempty"`
	// PostCompleteDelay is how long the place of a node stays taken after it has ended,
	// before another node begins.
	// +kubebuilder:validation:Format=duration
	PostCompleteDelay *metav1.Duration `json:"postCompleteDelay,omitempty"`
	// Deadline is how long after the job's creation a node may begin. Nodes that have not
	// begun by then have failed. Without it nodes that are away do the job when they return,
	// whenever that is.
	// +kubebuilder:validation:Format=duration
	Deadline *metav1.Duration `json:"deadline,omitempty"`
	// TTLSecondsAfterFinished is how long after its end the job is deleted, with its
	// results. Without it the job stays.
	// +kubebuilder:validation:Minimum=0
	TTLSecondsAfterFinished *int32 `json:"ttlSecondsAfterFinished,omitempty"`
}

// Rollout says in which order nodes take part in a job.
type Rollout struct {
	// Batches are done one after the other. Nodes that are in none of them are the last
	// batch.
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Batches []Batch `json:"batches,omitempty"`
	// DisruptionBudget bounds how many nodes of one place are disturbed at a time.
	DisruptionBudget *DisruptionBudget `json:"disruptionBudget,omitempty"`
}

// Batch is a group of nodes that must be done before the next group begins. Nodes that are
// away do not hold up the next batch, unless the whole batch is away: they do the job when
// they return.
//
// +kubebuilder:validation:XValidation:rule="has(self.selector) || has(self.limit)",message="a batch needs selector, limit or both: nodes in no batch are the last one by themselves"
// +kubebuilder:validation:XValidation:rule="!has(self.limit) || type(self.limit) != int || self.limit > 0",message="limit must be 1 or more"
// +kubebuilder:validation:XValidation:rule="!has(self.successThreshold) || type(self.successThreshold) != int || self.successThreshold >= 0",message="successThreshold must be 0 or more"
type Batch struct {
	// Selector says which of the job's nodes may be in the batch. Without it: all that are
	// in no earlier batch.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Limit is how many nodes are in the batch: a number, or a percentage of all nodes of
	// the job, rounded up. Without it: all that the selector matches.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^((100|[1-9][0-9]?)%|[1-9][0-9]{0,8})$`
	Limit *intstr.IntOrString `json:"limit,omitempty"`
	// SuccessThreshold is how many of the batch's nodes must succeed for the next batch to
	// begin: a number, or a percentage of those that have ended. If it cannot be reached,
	// the job has failed.
	// +kubebuilder:default="90%"
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^((100|[0-9]{1,2})%|[0-9]{1,9})$`
	SuccessThreshold *intstr.IntOrString `json:"successThreshold,omitempty"`
}

// DisruptionBudget bounds how many nodes that have the same values of some labels are
// unavailable at a time. A node is unavailable while it applies a job and while it is away.
// The edge nodes outside of the job count too.
//
// +kubebuilder:validation:XValidation:rule="has(self.maxUnavailable) || has(self.minAvailable)",message="a disruptionBudget needs maxUnavailable, minAvailable or both"
// +kubebuilder:validation:XValidation:rule="!has(self.maxUnavailable) || type(self.maxUnavailable) != int || self.maxUnavailable > 0",message="maxUnavailable must be 1 or more"
// +kubebuilder:validation:XValidation:rule="!has(self.minAvailable) || type(self.minAvailable) != int || self.minAvailable >= 0",message="minAvailable must be 0 or more"
type DisruptionBudget struct {
	// GroupBy are keys of labels. Nodes with the same values of all of them are one group.
	// Empty: all edge nodes are one group.
	// +kubebuilder:validation:MaxItems=8
	// +listType=atomic
	GroupBy []string `json:"groupBy,omitempty"`
	// MaxUnavailable is how many nodes of a group may be unavailable: a number, or a
	// percentage of the group, rounded up.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^((100|[1-9][0-9]?)%|[1-9][0-9]{0,8})$`
	MaxUnavailable *intstr.IntOrString `json:"maxUnavailable,omitempty"`
	// MinAvailable is how many nodes of a group must stay available: a number, or a
	// percentage of the group, rounded up.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^((100|[0-9]{1,2})%|[0-9]{1,9})$`
	MinAvailable *intstr.IntOrString `json:"minAvailable,omitempty"`
}

// Window says when nodes may work for a job.
type Window struct {
	// Download is when nodes may download what the job needs. Without it: always.
	Download *Schedule `json:"download,omitempty"`
	// Apply is when nodes may begin to apply the job. A node that has begun goes on after
	// its end. Without it: always.
	Apply *Schedule `json:"apply,omitempty"`
}

// Schedule is a time that comes again and again.
type Schedule struct {
	// Cron says when the time begins, for example "0 2 * * 6": minute, hour, day of the
	// month, month, day of the week.
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern=`^\s*(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^\s@]+(\s+[^\s]+){4})\s*$`
	Cron string `json:"cron"`
	// TimeZone of Cron, for example Europe/Berlin. Empty means UTC.
	// +kubebuilder:validation:MaxLength=64
	// +kubebuilder:validation:Pattern=`^[A-Za-z0-9_+/-]*$`
	TimeZone string `json:"timeZone,omitempty"`
	// Duration is how long it lasts, for example 2h.
	// +kubebuilder:validation:Format=duration
	Duration metav1.Duration `json:"duration"`
}

// Health says how a node judges itself after it has been changed. A node that is not healthy
// goes back to what it was before; see rollbackOnFailure.
type Health struct {
	// Timeout is how long the node may take to become healthy.
	// +kubebuilder:default="5m"
	// +kubebuilder:validation:Format=duration
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// Stable is how long it must stay healthy without a break.
	// +kubebuilder:default="60s"
	// +kubebuilder:validation:Format=duration
	Stable *metav1.Duration `json:"stable,omitempty"`
	// RequireLink wants the link to the cloud, if the node had one before.
	// +kubebuilder:default=true
	RequireLink *bool `json:"requireLink,omitempty"`
	// RequirePodsReady wants the pods to be ready that were ready before.
	// +kubebuilder:default=true
	RequirePodsReady *bool `json:"requirePodsReady,omitempty"`
}
