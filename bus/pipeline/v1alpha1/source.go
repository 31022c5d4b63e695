package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Source is a source of events, of exactly one kind.
//
// +kubebuilder:validation:XValidation:rule="[has(self.mqtt), has(self.twin), has(self.http), has(self.file), has(self.containerLogs)].filter(x, x).size() == 1",message="exactly one of mqtt, twin, http, file and containerLogs is required"
type Source struct {
	// Name by which steps and sinks name the source.
	Name Name `json:"name"`
	// MQTT messages of the node's broker.
	MQTT *MQTTSource `json:"mqtt,omitempty"`
	// Twin changes of the node's devices.
	Twin *TwinSource `json:"twin,omitempty"`
	// HTTP requests of programs on the node.
	HTTP *HTTPSource `json:"http,omitempty"`
	// File of lines.
	File *FileSource `json:"file,omitempty"`
	// ContainerLogs are lines of containers on the node.
	ContainerLogs *ContainerLogsSource `json:"containerLogs,omitempty"`
	// Decode says what the payload is. The default is json for mqtt and http, text for file
	// and containerLogs. A twin's value is decoded already.
	Decode *Decode `json:"decode,omitempty"`
	// Time is an expression for the event's time: a timestamp, a text as in RFC 3339, or a
	// number of milliseconds since 1970. The default is when the event came.
	Time Expression `json:"time,omitempty"`
}

// MQTTSource subscribes at the node's broker.
type MQTTSource struct {
	// Topic is a filter of MQTT.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Topic string `json:"topic"`
	// QoS of the subscription. At 1 no message is lost at a kill.
	// +kubebuilder:validation:Enum=0;1
	// +kubebuilder:default=1
	QoS *int32 `json:"qos,omitempty"`
}

// TwinSource has an event for each change of a reported value: data.device,
// data.property, data.value.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.devices) && has(self.selector))",message="at most one of devices and selector is allowed"
type TwinSource struct {
	// Devices by their names; empty means all of the node.
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Devices []string `json:"devices,omitempty"`
	// Selector selects devices by the labels of their Device.
	Selector *metav1.LabelSelector `json:"selector,omitempty"`
	// Properties by their names; empty means all.
	// +listType=set
	// +kubebuilder:validation:MaxItems=1000
	Properties []string `json:"properties,omitempty"`
}

// HTTPSource takes the bodies of POST requests at the node's local port for pipelines.
type HTTPSource struct {
	// Path of the requests.
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._~/-]{0,255}$`
	Path string `json:"path"`
}

// FileSource reads the lines of a file below the folder that the node allows, and goes on
// when it grows.
type FileSource struct {
	// Path of the file, below the folder for files of the node.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path"`
	// From says where to begin at the first start: at the file's start or its end.
	// +kubebuilder:validation:Enum=start;end
	From string `json:"from,omitempty"`
}

// ContainerLogsSource reads the log lines of containers on the node.
type ContainerLogsSource struct {
	// Namespace of the pods; empty means the Pipeline's.
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
	// PodSelector selects pods by their labels.
	PodSelector *metav1.LabelSelector `json:"podSelector,omitempty"`
	// Container of the pods; empty means all.
	// +kubebuilder:validation:MaxLength=63
	Container string `json:"container,omitempty"`
}

// Decode says what a payload is.
//
// +kubebuilder:validation:XValidation:rule="has(self.protobuf) == (self.format == 'protobuf') && has(self.binary) == (self.format == 'binary') && (!has(self.csv) || self.format == 'csv')",message="protobuf and binary are required with the format of that name, and they and csv are allowed with no other"
type Decode struct {
	// Format of the payload. none leaves bytes, text makes a text.
	// +kubebuilder:validation:Enum=json;cbor;csv;protobuf;binary;text;none
	Format string `json:"format"`
	// Each makes one event of each element if the payload is a list.
	Each bool `json:"each,omitempty"`
	// CSV says what the columns are.
	CSV *CSVFormat `json:"csv,omitempty"`
	// Protobuf says which message it is.
	Protobuf *ProtobufFormat `json:"protobuf,omitempty"`
	// Binary is a fixed layout.
	Binary *BinaryFormat `json:"binary,omitempty"`
}

// CSVFormat says what the columns of lines are. One line is an object, more are a list.
type CSVFormat struct {
	// Columns by their names.
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=256
	Columns []string `json:"columns,omitempty"`
	// Header says that the first line has the names.
	Header bool `json:"header,omitempty"`
	// Separator is one character; the default is a comma.
	// +kubebuilder:validation:MaxLength=1
	Separator string `json:"separator,omitempty"`
}

// ProtobufFormat is a message by its descriptor.
type ProtobufFormat struct {
	// DescriptorSet is a serialized google.protobuf.FileDescriptorSet, as protoc
	// --include_imports --descriptor_set_out writes it.
	// +kubebuilder:validation:MaxLength=262144
	DescriptorSet []byte `json:"descriptorSet"`
	// Message is the full name of the message.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Message string `json:"message"`
}

// BinaryFormat is a fixed layout of numbers.
type BinaryFormat struct {
	// Endian is the order of bytes.
	// +kubebuilder:validation:Enum=big;little
	Endian string `json:"endian,omitempty"`
	// Fields of the layout.
	// +listType=atomic
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Fields []BinaryField `json:"fields"`
}

// BinaryField is one number of a layout.
type BinaryField struct {
	// Name in the event's data.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name"`
	// Type of the number.
	// +kubebuilder:validation:Enum=bool;int8;uint8;int16;uint16;int32;uint32;int64;uint64;float32;float64
	Type string `json:"type"`
	// Offset of the first byte.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Offset int32 `json:"offset"`
	// Bit is the number of the bit, 0 the lowest, for type bool.
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=7
	Bit int32 `json:"bit,omitempty"`
	// Scale is a decimal number by which the number is multiplied.
	// +kubebuilder:validation:Pattern=`^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?$`
	Scale string `json:"scale,omitempty"`
}
