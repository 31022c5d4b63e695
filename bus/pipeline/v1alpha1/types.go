package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of a Pipeline. The schema has the same.
const (
	MaxTables   = 16
	MaxSources  = 16
	MaxSteps    = 64
	MaxSinks    = 16
	MaxTests    = 64
	MaxFailures = 10 // of PipelineStatus.Failures
	MaxRows     = 1000
)

// AnnotationInputs on a Pipeline is a hash of the Secrets and ConfigMaps that it names. The
// program that calls Runner.Apply sets it: when it changes, sources and sinks are opened anew.
const AnnotationInputs = "pipelines.edgekit.io/inputs"

// Expression is an expression in CEL. Its variables are event (id, source, type, subject,
// time, data, extensions) and node; those of pipeline.Vars.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=4096
type Expression string

// Name is the name of a source, a step, a sink, a table or a test.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9]([-A-Za-z0-9 _.]*[A-Za-z0-9])?$`
type Name string

// Text is a text of moderate length.
//
// +kubebuilder:validation:MaxLength=4096
type Text string

// Template is a text in which each {EXPRESSION} is replaced by the expression's value. {{
// and }} are the brackets themselves.
//
// +kubebuilder:validation:MaxLength=4096
type Template string

// Pipeline says which events of a node go through which steps to which sinks.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=pipelines,categories=edgekit
// +kubebuilder:printcolumn:name="Nodes",type=integer,JSONPath=`.status.nodes`
// +kubebuilder:printcolumn:name="Running",type=integer,JSONPath=`.status.running`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type Pipeline struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the pipeline does.
	Spec PipelineSpec `json:"spec"`
	// Status says what became of it.
	Status PipelineStatus `json:"status,omitempty"`
}

// PipelineSpec says what a pipeline does. nodeName and nodeSelector say where; outside of a
// cluster both may be empty.
//
// +kubebuilder:validation:XValidation:rule="has(self.nodeName) != has(self.nodeSelector)",message="exactly one of nodeName and nodeSelector is required"
type PipelineSpec struct {
	// NodeName is the node that runs the pipeline.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName,omitempty"`
	// NodeSelector selects the nodes that run the pipeline by their labels.
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`
	// Tables are static tables for steps of kind enrich.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=16
	Tables []Table `json:"tables,omitempty"`
	// Sources of events.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Sources []Source `json:"sources"`
	// Steps that events go through.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Steps []Step `json:"steps,omitempty"`
	// Sinks that events go to.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	Sinks []Sink `json:"sinks"`
	// Tests are cases for "edgectl pipeline test". A node does not look at them.
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Tests []Test `json:"tests,omitempty"`
}

// Table is a static table.
//
// +kubebuilder:validation:XValidation:rule="has(self.rows) != has(self.configMapRef)",message="exactly one of rows and configMapRef is required"
type Table struct {
	// Name by which steps name the table.
	Name Name `json:"name"`
	// Key is the column whose value names a row.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Key string `json:"key"`
	// Rows are objects, with the column Key in each.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Rows []Row `json:"rows,omitempty"`
	// ConfigMapRef names a key of a ConfigMap with the rows as CSV, with a first line of
	// column names, or as a JSON list of objects.
	ConfigMapRef *ConfigMapKeyRef `json:"configMapRef,omitempty"`
}

// ConfigMapKeyRef names a key of a ConfigMap in the Pipeline's namespace.
type ConfigMapKeyRef struct {
	// Name of the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Key in the ConfigMap.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key"`
}

// SecretRef names a Secret in the Pipeline's namespace, with some of the keys username,
// password, token, ca.crt, tls.crt and tls.key.
type SecretRef struct {
	// Name of the Secret.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Test is a case: events in, and what reaches the sinks.
type Test struct {
	// Name of the case.
	Name Name `json:"name"`
	// Input are the events, in the order of At.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Input []TestInput `json:"input"`
	// Expect are the events that reach the sinks, in this order for each sink.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Expect []TestOutput `json:"expect,omitempty"`
	// NotExpect are events none of which reaches a sink.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	NotExpect []TestOutput `json:"notExpect,omitempty"`
	// Twins are the values of twins for steps of kind enrich.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=1000
	Twins []TestTwin `json:"twins,omitempty"`
	// Until is how long the case runs after its begin, in virtual time. The default is
	// one hour after the last input.
	Until *metav1.Duration `json:"until,omitempty"`
}

// TestInput is one event of a source.
type TestInput struct {
	// Source is the name of the source.
	Source Name `json:"source"`
	// At is when it comes, after the begin of the case.
	At *metav1.Duration `json:"at,omitempty"`
	// ID of the event; by default a number.
	// +kubebuilder:validation:MaxLength=256
	ID string `json:"id,omitempty"`
	// Subject of the event, as the MQTT topic that it came on.
	// +kubebuilder:validation:MaxLength=4096
	Subject string `json:"subject,omitempty"`
	// Data is the event's data, decoded.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Data *Value `json:"data,omitempty"`
	// Raw is the payload as text, to be decoded as the source says.
	// +kubebuilder:validation:MaxLength=65536
	Raw string `json:"raw,omitempty"`
	// Base64 is the payload in base64, to be decoded as the source says.
	Base64 []byte `json:"base64,omitempty"`
}

// TestOutput is one event at a sink. Fields that are empty are not compared.
type TestOutput struct {
	// Sink is the name of the sink; for dead letters the name of the step or source.
	Sink Name `json:"sink"`
	// At is when it comes at the latest, after the begin of the case.
	At *metav1.Duration `json:"at,omitempty"`
	// ID of the event.
	// +kubebuilder:validation:MaxLength=1024
	ID string `json:"id,omitempty"`
	// Data is the event's data. Objects may have more fields than are named here.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Data *Value `json:"data,omitempty"`
	// DeadLetter says that the event is a dead letter with this reason.
	// +kubebuilder:validation:MaxLength=63
	DeadLetter string `json:"deadLetter,omitempty"`
}

// TestTwin is the reported value of one property.
type TestTwin struct {
	// Device is the device's name.
	// +kubebuilder:validation:MaxLength=253
	Device string `json:"device"`
	// Property of the device.
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property"`
	// Value that is reported.
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Value Value `json:"value"`
}

// PipelineList is a list of pipelines.
//
// +kubebuilder:object:root=true
type PipelineList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []Pipeline `json:"items"`
}
