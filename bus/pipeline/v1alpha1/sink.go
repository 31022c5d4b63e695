package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Sink is where events go, of exactly one kind.
//
// +kubebuilder:validation:XValidation:rule="[has(self.cloud), has(self.twin), has(self.mqtt), has(self.http), has(self.nats), has(self.kafka), has(self.otlp), has(self.influx), has(self.file)].filter(x, x).size() == 1",message="exactly one of cloud, twin, mqtt, http, nats, kafka, otlp, influx and file is required"
type Sink struct {
	// Name of the sink. The events that wait for it are kept under it when the pipeline
	// changes.
	Name Name `json:"name"`
	// From names the sources and steps whose events come in. The default is the last step;
	// without steps all sources.
	// +listType=set
	// +kubebuilder:validation:MaxItems=16
	From []Name `json:"from,omitempty"`
	// Cloud sends CloudEvents by cloudcore.
	Cloud *CloudSink `json:"cloud,omitempty"`
	// Twin sets the desired value of a property.
	Twin *TwinSink `json:"twin,omitempty"`
	// MQTT publishes at the node's broker.
	MQTT *MQTTSink `json:"mqtt,omitempty"`
	// HTTP posts to a URL.
	HTTP *HTTPSink `json:"http,omitempty"`
	// NATS publishes to JetStream.
	NATS *NATSSink `json:"nats,omitempty"`
	// Kafka produces to a topic.
	Kafka *KafkaSink `json:"kafka,omitempty"`
	// OTLP sends logs as OTLP over HTTP.
	OTLP *OTLPSink `json:"otlp,omitempty"`
	// Influx writes line protocol.
	Influx *InfluxSink `json:"influx,omitempty"`
	// File writes files below the folder that the node allows.
	File *FileSink `json:"file,omitempty"`
	// Queue of the sink on the node's disk.
	Queue *QueueSpec `json:"queue,omitempty"`
	// Batch says how many events are sent at once.
	Batch *BatchSpec `json:"batch,omitempty"`
	// Retry says how long an event is tried.
	Retry *RetrySpec `json:"retry,omitempty"`
	// SecretRef has the credentials.
	SecretRef *SecretRef `json:"secretRef,omitempty"`
}

// URL is an absolute URL without user and password.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=2048
type URL string

// CloudSink sends CloudEvents by cloudcore to a URL, as a Rule with target rest does.
type CloudSink struct {
	// URL that cloudcore posts to.
	URL URL `json:"url"`
}

// TwinSink sets a value of a device.
type TwinSink struct {
	// Device is an expression for the device's name.
	Device Expression `json:"device"`
	// Property of the device.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Property string `json:"property"`
	// Value is an expression for the value.
	Value Expression `json:"value"`
}

// MQTTSink publishes at the node's broker.
type MQTTSink struct {
	// Topic with {EXPRESSION}.
	Topic Template `json:"topic"`
	// QoS of the message; the default is 1.
	// +kubebuilder:validation:Enum=0;1
	QoS *int32 `json:"qos,omitempty"`
	// Retain the message at the broker.
	Retain bool `json:"retain,omitempty"`
	// Format of the payload: data is the data as JSON, cloudevents the whole event.
	// +kubebuilder:validation:Enum=data;cloudevents
	Format string `json:"format,omitempty"`
}

// HTTPSink posts batches of CloudEvents.
type HTTPSink struct {
	// URL that is posted to.
	URL URL `json:"url"`
	// Format of the body: cloudevents is a batch of CloudEvents, lines are the data as one
	// JSON in each line.
	// +kubebuilder:validation:Enum=cloudevents;lines
	Format string `json:"format,omitempty"`
	// Headers of the request.
	// +kubebuilder:validation:MaxProperties=32
	Headers map[string]Text `json:"headers,omitempty"`
}

// NATSSink publishes to JetStream with the event's id as Nats-Msg-Id.
type NATSSink struct {
	// URL of the server: nats:// or tls://.
	URL URL `json:"url"`
	// Stream that must exist; empty means any that has the subject.
	// +kubebuilder:validation:MaxLength=255
	Stream string `json:"stream,omitempty"`
	// Subject with {EXPRESSION}.
	Subject Template `json:"subject"`
}

// KafkaSink produces to a topic with the idempotent producer.
type KafkaSink struct {
	// Brokers as HOST:PORT.
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	Brokers []string `json:"brokers"`
	// Topic of the records.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=249
	Topic string `json:"topic"`
	// Key is an expression for the record's key.
	Key Expression `json:"key,omitempty"`
}

// OTLPSink sends events as OTLP logs over HTTP.
type OTLPSink struct {
	// Endpoint is the URL of the receiver; /v1/logs is added if it has no path.
	Endpoint URL `json:"endpoint"`
}

// InfluxSink writes line protocol.
type InfluxSink struct {
	// URL of the write endpoint, with its query.
	URL URL `json:"url"`
	// Measurement with {EXPRESSION}.
	Measurement Template `json:"measurement"`
	// Tags by their names.
	// +kubebuilder:validation:MaxProperties=32
	Tags map[string]Expression `json:"tags,omitempty"`
	// Fields by their names.
	// +kubebuilder:validation:MinProperties=1
	// +kubebuilder:validation:MaxProperties=64
	Fields map[string]Expression `json:"fields"`
}

// FileSink writes files below the folder for files of the node.
type FileSink struct {
	// Path of the file. Rotated files have a time before the extension.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path"`
	// Format of the file: lines of JSON, or Parquet.
	// +kubebuilder:validation:Enum=lines;parquet
	Format string `json:"format,omitempty"`
	// Rotate says when a new file begins.
	Rotate *Rotate `json:"rotate,omitempty"`
}

// Rotate says when a new file begins and how many are kept.
type Rotate struct {
	// Size of a file.
	Size *resource.Quantity `json:"size,omitempty"`
	// Age of a file.
	// +kubebuilder:validation:Format=duration
	Age *metav1.Duration `json:"age,omitempty"`
	// Keep is how many rotated files are kept; 0 means 5.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Keep int32 `json:"keep,omitempty"`
}

// What becomes of events when a queue is full.
const (
	DropOldest = "DropOldest" // the oldest events of the queue are dropped
	DropNewest = "DropNewest" // the events that come are dropped
	Block      = "Block"      // the sources wait
)

// QueueSpec is the queue of a sink on the node's disk.
type QueueSpec struct {
	// MaxSize of the events that wait; the default is 64Mi.
	MaxSize *resource.Quantity `json:"maxSize,omitempty"`
	// MaxAge of the events that wait; the default is 168h.
	// +kubebuilder:validation:Format=duration
	MaxAge *metav1.Duration `json:"maxAge,omitempty"`
	// Keep is how long events that were sent stay for a replay by time, within MaxSize; the
	// default is not at all.
	// +kubebuilder:validation:Format=duration
	Keep *metav1.Duration `json:"keep,omitempty"`
	// Overflow says what becomes of events when the queue is full; the default is
	// DropOldest.
	// +kubebuilder:validation:Enum=DropOldest;DropNewest;Block
	Overflow string `json:"overflow,omitempty"`
	// Live is how many batches of new events are sent for each batch of the backlog after
	// an outage; 0 means 4.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Live int32 `json:"live,omitempty"`
}

// BatchSpec says how many events are sent at once.
type BatchSpec struct {
	// Events in a batch; 0 means 100.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=10000
	Events int32 `json:"events,omitempty"`
	// Linger is how long a batch waits for more events.
	// +kubebuilder:validation:Format=duration
	Linger *metav1.Duration `json:"linger,omitempty"`
	// Compression of a batch, where the sink has it.
	// +kubebuilder:validation:Enum=none;gzip;zstd
	Compression string `json:"compression,omitempty"`
}

// RetrySpec says how long an event is tried.
type RetrySpec struct {
	// For is how long after it came an event is tried. Then it is a dead letter. The
	// default is 24h.
	// +kubebuilder:validation:Format=duration
	For *metav1.Duration `json:"for,omitempty"`
}
