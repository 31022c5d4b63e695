package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Conditions of a Pipeline.
const (
	ConditionAccepted = "Accepted" // the spec can be compiled
	ConditionRunning  = "Running"  // it runs on all of its nodes
	// ConditionInputs says whether the ConfigMaps and Secrets that it names can be read. A
	// Pipeline that names none does not have it.
	ConditionInputs = "InputsAvailable"
)

// Reasons of conditions and failures.
const (
	ReasonAccepted         = "Accepted"
	ReasonRunning          = "Running"
	ReasonStarting         = "Starting"
	ReasonInvalid          = "Invalid"          // Compile refused the spec
	ReasonTooMany          = "TooMany"          // the node has as many pipelines as it runs
	ReasonNoProgram        = "NoProgram"        // the node has no program that runs pipelines
	ReasonNoNodes          = "NoNodes"          // no node is selected
	ReasonSourceFailed     = "SourceFailed"     // a source cannot be opened or ended
	ReasonSinkFailed       = "SinkFailed"       // a sink cannot be opened or refuses events
	ReasonSinkRetrying     = "SinkRetrying"     // a sink does not take events; they are tried again
	ReasonStoreFailed      = "StoreFailed"      // the node's store cannot be written
	ReasonPanic            = "Panic"            // a defect of edgekit or of a library
	ReasonDecodeFailed     = "DecodeFailed"     // dead letter: the payload is not what the source says
	ReasonExpressionFailed = "ExpressionFailed" // dead letter: an expression failed on the event
	ReasonSchemaFailed     = "SchemaFailed"     // dead letter: the event does not match the schema
	ReasonEventTooLarge    = "EventTooLarge"    // dead letter: the event is over the limit
	ReasonTooManyKeys      = "TooManyKeys"      // dead letter: the step has as many keys as it holds
	ReasonFutureTime       = "FutureTime"       // dead letter: the event's time is far ahead of the clock and of its key
	ReasonRefused          = "Refused"          // dead letter: the sink refused the event
	ReasonExpired          = "Expired"          // dead letter: the sink's time to retry is over
)

// PipelineStatus says what became of a pipeline, over all of its nodes.
type PipelineStatus struct {
	// ObservedGeneration is the generation of the spec that the status is about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Nodes counts the nodes that shall run it.
	Nodes int32 `json:"nodes,omitempty"`
	// Running counts the nodes that run it.
	Running int32 `json:"running,omitempty"`
	// Failed counts the nodes that cannot run it, or where a part of it fails.
	Failed int32 `json:"failed,omitempty"`
	// Parts are the counts of each cloudcore, of the nodes with a link to it.
	// +listType=map
	// +listMapKey=cloudcore
	// +kubebuilder:validation:MaxItems=64
	Parts []StatusPart `json:"parts,omitempty"`
	// Conditions of the pipeline: Accepted and Running.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// Failures are the last failures, the newest first.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=10
	Failures []Failure `json:"failures,omitempty"`
}

// StatusPart is what one cloudcore counts.
type StatusPart struct {
	// Cloudcore is the run of cloudcore that counts.
	// +kubebuilder:validation:MaxLength=253
	Cloudcore string `json:"cloudcore"`
	// Running counts the nodes with a link to it that run the pipeline.
	Running int32 `json:"running,omitempty"`
	// Failed counts those that cannot run it.
	Failed int32 `json:"failed,omitempty"`
	// Expired counts the events that were given up since this cloudcore began.
	Expired int64 `json:"expired,omitempty"`
}

// Failure is what failed at one step of a pipeline on one node.
type Failure struct {
	// Node on which it failed.
	Node string `json:"node,omitempty"`
	// Step, source or sink that failed; empty means the whole pipeline.
	Step string `json:"step,omitempty"`
	// Reason in one word.
	Reason string `json:"reason"`
	// Message says what failed and what to do.
	Message string `json:"message,omitempty"`
	// Event is the begin of the event that failed.
	Event string `json:"event,omitempty"`
	// Count is how often it failed in the same way.
	Count int64 `json:"count,omitempty"`
	// Time of the last failure.
	Time metav1.Time `json:"time,omitempty"`
}
