package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// EndpointType is the kind of a RuleEndpoint.
//
// +kubebuilder:validation:Enum=rest;eventbus;servicebus
type EndpointType string

// The kinds of endpoints.
const (
	Rest       EndpointType = "rest"       // HTTP in the cloud: cloudcore's port for rules, or a URL
	EventBus   EndpointType = "eventbus"   // MQTT on a node
	ServiceBus EndpointType = "servicebus" // HTTP on a node
)

// Keys of RuleSpec.SourceResource and TargetResource.
const (
	KeyPath      = "path"       // source rest: the path below /NODE/NAMESPACE/; target servicebus: the path at the service
	KeyTopic     = "topic"      // source eventbus: a filter below NAMESPACE/; target eventbus: a topic
	KeyNodeName  = "node_name"  // source eventbus and servicebus: the node
	KeyTargetURL = "target_url" // source servicebus: the name by which programs on the node ask for the rule
	KeyResource  = "resource"   // target rest: an absolute URL
	KeyQuery     = "query"      // target eventbus: "topic" appends the query string to the topic
)

// Keys of RuleEndpointSpec.Properties.
const (
	PropertyPort   = "service_port" // servicebus: the service's port, 1 to 65535
	PropertyHost   = "service_host" // servicebus: a host that the node's edgecore allows; 127.0.0.1 by default
	PropertyFormat = "format"       // rest: "cloudevents" sends CloudEvents headers
)

// AnnotationAnonymous on a RuleEndpoint of type rest, with the value "true", lets callers
// in without credentials, as KubeEdge does.
const AnnotationAnonymous = "edgekit.io/anonymous"

// Setting is one value of a map of settings.
//
// +kubebuilder:validation:MaxLength=1024
type Setting string

// RuleEndpoint is a place that messages come from or go to.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=ruleendpoints,shortName=re,categories=edgekit
// +kubebuilder:printcolumn:name="Type",type=string,JSONPath=`.spec.ruleEndpointType`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type RuleEndpoint struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says what the endpoint is.
	Spec RuleEndpointSpec `json:"spec"`
}

// RuleEndpointSpec says what an endpoint is.
//
// +kubebuilder:validation:XValidation:rule="!has(self.properties) || self.properties.all(k, k in ['service_port', 'service_host', 'format'])",message="properties may be service_port, service_host and format"
// +kubebuilder:validation:XValidation:rule="!has(self.properties) || !('service_port' in self.properties) || (self.ruleEndpointType == 'servicebus' && self.properties['service_port'].matches('^[1-9][0-9]{0,4}$') && int(self.properties['service_port']) <= 65535)",message="service_port is for servicebus, and a number from 1 to 65535"
// +kubebuilder:validation:XValidation:rule="!has(self.properties) || !('service_host' in self.properties) || (self.ruleEndpointType == 'servicebus' && self.properties['service_host'].matches('^[A-Za-z0-9.:_-]{1,253}$'))",message="service_host is for servicebus, and a host name or an IP address"
// +kubebuilder:validation:XValidation:rule="!has(self.properties) || !('format' in self.properties) || (self.ruleEndpointType == 'rest' && self.properties['format'] in ['raw', 'cloudevents'])",message="format is for rest, and raw or cloudevents"
type RuleEndpointSpec struct {
	// RuleEndpointType is the kind of the endpoint.
	RuleEndpointType EndpointType `json:"ruleEndpointType"`
	// Properties of the endpoint: service_port and service_host for servicebus, format
	// (raw or cloudevents) for rest.
	// +kubebuilder:validation:MaxProperties=8
	Properties map[string]Setting `json:"properties,omitempty"`
}

// RuleEndpointList is a list of endpoints.
//
// +kubebuilder:object:root=true
type RuleEndpointList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []RuleEndpoint `json:"items"`
}

// Rule carries messages from one endpoint to another.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=rules,categories=edgekit
// +kubebuilder:printcolumn:name="Source",type=string,JSONPath=`.spec.source`
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target`
// +kubebuilder:printcolumn:name="Resolved",type=string,JSONPath=`.status.conditions[?(@.type=="Resolved")].status`
// +kubebuilder:printcolumn:name="OK",type=integer,JSONPath=`.status.successMessages`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failMessages`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:storageversion
type Rule struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says which messages go where.
	Spec RuleSpec `json:"spec"`
	// Status says what became of them.
	Status RuleStatus `json:"status,omitempty"`
}

// RuleSpec says which messages go where. The keys of SourceResource and TargetResource
// say what source and target are: their RuleEndpoints must be of that kind.
//
// +kubebuilder:validation:XValidation:rule="(('path' in self.sourceResource) ? 1 : 0) + (('topic' in self.sourceResource) ? 1 : 0) + (('target_url' in self.sourceResource) ? 1 : 0) == 1",message="sourceResource needs one of path (rest), topic (eventbus) and target_url (servicebus)"
// +kubebuilder:validation:XValidation:rule="self.sourceResource.all(k, k in ['path', 'topic', 'target_url', 'node_name'])",message="sourceResource has path, or topic and node_name, or target_url and node_name"
// +kubebuilder:validation:XValidation:rule="(('path' in self.sourceResource) && !('node_name' in self.sourceResource)) || (!('path' in self.sourceResource) && ('node_name' in self.sourceResource) && self.sourceResource['node_name'].matches('^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$'))",message="sourceResource.node_name is required with topic and target_url and is the name of a node; with path the caller names the node"
// +kubebuilder:validation:XValidation:rule="!('path' in self.sourceResource) || self.sourceResource['path'].matches('^/?([^/{}?#]+|[{][A-Za-z0-9_]+[}])(/([^/{}?#]+|[{][A-Za-z0-9_]+[}]))*/?$')",message="sourceResource.path has one or more parts between slashes, each a text or a {name}, without ? and #"
// +kubebuilder:validation:XValidation:rule="!('topic' in self.sourceResource) || self.sourceResource['topic'].matches('^/*([^+#/]+|[+]|#$)(/([^+#/]*|[+]))*(/#)?$')",message="sourceResource.topic is a filter of MQTT: + and # are parts of their own, # the last"
// +kubebuilder:validation:XValidation:rule="!('target_url' in self.sourceResource) || isURL(self.sourceResource['target_url'])",message="sourceResource.target_url is a URL"
// +kubebuilder:validation:XValidation:rule="('path' in self.sourceResource) ? (('topic' in self.targetResource) != ('path' in self.targetResource) && !('resource' in self.targetResource)) : ('resource' in self.targetResource && !('topic' in self.targetResource) && !('path' in self.targetResource))",message="a source with path (rest) needs targetResource.topic (eventbus) or path (servicebus); any other source needs targetResource.resource (rest)"
// +kubebuilder:validation:XValidation:rule="self.targetResource.all(k, k in ['path', 'topic', 'query', 'resource'])",message="targetResource has topic (and query), path or resource"
// +kubebuilder:validation:XValidation:rule="!('topic' in self.targetResource) || self.targetResource['topic'].matches('^[^$+#][^+#]*$')",message="targetResource.topic is a topic of MQTT without wildcards that does not begin with $"
// +kubebuilder:validation:XValidation:rule="!('path' in self.targetResource) || self.targetResource['path'].matches('^/?[^?# ]*$')",message="targetResource.path is a path without query"
// +kubebuilder:validation:XValidation:rule="!('query' in self.targetResource) || (self.targetResource['query'] == 'topic' && 'topic' in self.targetResource)",message="targetResource.query is topic, and only beside topic"
// +kubebuilder:validation:XValidation:rule="!('resource' in self.targetResource) || (isURL(self.targetResource['resource']) && self.targetResource['resource'].matches('^https?://[^/@?#]+([/?#].*)?$'))",message="targetResource.resource is an absolute URL, http:// or https://, without user and password"
type RuleSpec struct {
	// Source is the name of a RuleEndpoint in the Rule's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Source string `json:"source"`
	// SourceResource says which messages of the source: path for rest, topic and
	// node_name for eventbus, target_url and node_name for servicebus.
	// +kubebuilder:validation:MaxProperties=8
	SourceResource map[string]Setting `json:"sourceResource"`
	// Target is the name of a RuleEndpoint in the Rule's namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Target string `json:"target"`
	// TargetResource says where at the target: topic for eventbus, path for servicebus,
	// resource (a URL) for rest.
	// +kubebuilder:validation:MaxProperties=8
	TargetResource map[string]Setting `json:"targetResource"`
	// TTL is how long a message is tried: from the first try on if it goes to a URL, and
	// from the call on if it waits for a node that is away. Then it is a dead letter. 0s
	// means one try. The default is 1h.
	// +kubebuilder:validation:Format=duration
	TTL *metav1.Duration `json:"ttl,omitempty"`
}

// SourceType says what kind of endpoint the source of the spec must be, "" for none.
func (s *RuleSpec) SourceType() EndpointType {
	switch {
	case s.SourceResource[KeyPath] != "":
		return Rest
	case s.SourceResource[KeyTopic] != "":
		return EventBus
	case s.SourceResource[KeyTargetURL] != "":
		return ServiceBus
	}
	return ""
}

// TargetType says what kind of endpoint the target of the spec must be, "" for none.
func (s *RuleSpec) TargetType() EndpointType {
	switch {
	case s.TargetResource[KeyTopic] != "":
		return EventBus
	case s.TargetResource[KeyResource] != "":
		return Rest
	}
	if _, ok := s.TargetResource[KeyPath]; ok {
		return ServiceBus
	}
	return ""
}

// ConditionResolved is the condition of a Rule that says whether its endpoints exist and are
// of the right kind, and no older Rule has its path. A Rule is in force only if it is True.
const ConditionResolved = "Resolved"

// Reasons of ConditionResolved.
const (
	ReasonResolved        = "Resolved"
	ReasonNoEndpoint      = "EndpointNotFound" // source or target does not exist
	ReasonWrongType       = "EndpointTypeWrong"
	ReasonPathTaken       = "PathTaken" // an older Rule of the namespace answers the same paths
	ReasonInvalid         = "Invalid"   // the spec was stored before the schema checked it
	ReasonServicePortNone = "ServicePortMissing"
)

// Bounds of a RuleStatus.
const (
	MaxNodes       = 32 // of PerNode
	MaxDeadLetters = 8  // of DeadLetters
)

// RuleStatus says what became of a Rule's messages. cloudcore writes it at most every ten
// seconds; counts of the last seconds are lost when it is killed.
type RuleStatus struct {
	// SuccessMessages counts the messages that the target took.
	SuccessMessages int64 `json:"successMessages,omitempty"`
	// FailMessages counts failed tries, and messages that were given up.
	FailMessages int64 `json:"failMessages,omitempty"`
	// Errors has the text of the last error, for programs that know KubeEdge's status.
	// +kubebuilder:validation:MaxItems=1
	Errors []string `json:"errors,omitempty"`
	// LastError is the last error.
	LastError *RuleError `json:"lastError,omitempty"`
	// PerNode has the counts by node, of the nodes that were last active.
	// +listType=map
	// +listMapKey=node
	// +kubebuilder:validation:MaxItems=32
	PerNode []NodeCount `json:"perNode,omitempty"`
	// DeadLetterMessages counts the messages that were given up.
	DeadLetterMessages int64 `json:"deadLetterMessages,omitempty"`
	// DeadLetters has the last messages that were given up, the newest first, without
	// their payloads.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	DeadLetters []DeadLetter `json:"deadLetters,omitempty"`
	// ObservedGeneration is the generation of the spec that Conditions are about.
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Conditions of the rule: Resolved.
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// RuleError is one error of a rule.
type RuleError struct {
	// Time of the error.
	Time metav1.Time `json:"time"`
	// Node whose message it was.
	Node string `json:"node,omitempty"`
	// Text says what failed.
	Text string `json:"text"`
}

// NodeCount counts the messages of one node.
type NodeCount struct {
	// Node is the node's name.
	Node string `json:"node"`
	// SuccessMessages counts the messages that the target took.
	SuccessMessages int64 `json:"successMessages,omitempty"`
	// FailMessages counts failed tries, and messages that were given up.
	FailMessages int64 `json:"failMessages,omitempty"`
	// LastTime is when the last message was counted.
	LastTime metav1.Time `json:"lastTime,omitempty"`
}

// DeadLetter is a message that was given up.
type DeadLetter struct {
	// Time at which it was given up.
	Time metav1.Time `json:"time"`
	// Node that it came from or was meant for.
	Node string `json:"node"`
	// ID of the message: what the target got as header edgekit-event-id.
	ID string `json:"id,omitempty"`
	// Topic of the message, if it has one.
	Topic string `json:"topic,omitempty"`
	// Bytes of its payload.
	Bytes int64 `json:"bytes,omitempty"`
	// Reason why it was given up.
	Reason string `json:"reason"`
}

// RuleList is a list of rules.
//
// +kubebuilder:object:root=true
type RuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []Rule `json:"items"`
}

// RuleMessage is one message of a Rule that waits for a node that is away. cloudcore makes it
// when a caller allows that (Prefer: respond-async), and removes it when the node has it or
// its time is over. Its Rule owns it.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=rulemessages,categories=edgekit
// +kubebuilder:printcolumn:name="Rule",type=string,JSONPath=`.spec.rule`
// +kubebuilder:printcolumn:name="Node",type=string,JSONPath=`.spec.nodeName`
// +kubebuilder:printcolumn:name="Topic",type=string,JSONPath=`.spec.topic`
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.spec.expirationTime`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:selectablefield:JSONPath=`.spec.nodeName`
// +kubebuilder:storageversion
type RuleMessage struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the message.
	Spec RuleMessageSpec `json:"spec"`
}

// RuleMessageSpec is one message.
//
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="a message does not change"
type RuleMessageSpec struct {
	// NodeName is the node that it waits for.
	// +kubebuilder:validation:MaxLength=253
	NodeName string `json:"nodeName"`
	// Rule is the name of its Rule.
	// +kubebuilder:validation:MaxLength=253
	Rule string `json:"rule"`
	// Topic on which the node publishes it.
	// +kubebuilder:validation:MaxLength=4096
	Topic string `json:"topic"`
	// Payload of the message.
	Payload []byte `json:"payload,omitempty"`
	// ContentType of the payload, a MIME type; empty says nothing.
	// +kubebuilder:validation:MaxLength=256
	ContentType string `json:"contentType,omitempty"`
	// ExpirationTime is when it is given up.
	ExpirationTime metav1.Time `json:"expirationTime"`
}

// RuleMessageList is a list of messages.
//
// +kubebuilder:object:root=true
type RuleMessageList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	// Items of the list.
	Items []RuleMessage `json:"items"`
}
