package tracing

import (
	"fmt"
	"strings"
)

// Span says what a span is. Its name is one of few; what it is about is in its attributes.
type Span struct {
	Name    string
	Program string // which makes it
	From    string // when it begins
	To      string // when it ends
	Parent  string // the name of its parent; "" for the first of a trace
}

// The names of spans are these after "pod." or "device.".
const (
	mirror      = "mirror"
	send        = "send"
	store       = "store"
	report      = "report"
	reportSend  = "report.send"
	reportWrite = "report.write"
)

// The names of spans of twins.
const (
	twinApply   = "twin.apply"
	twinPublish = "twin.publish"
	twinReport  = "twin.report"
)

// Spans returns all spans in the order of their way.
func Spans() []Span {
	return []Span{
		{"pod.mirror", "cloudcore", "the API server's event is seen, or after a time without a link: the node is compared", "the pod is read for the node", ""},
		{"pod.send", "cloudcore", "the pod is read", "the node has acknowledged it", "pod.mirror"},
		{"pod.store", "edgecore", "the pod has arrived", "it is durable in the node's store", "pod.send"},
		{"pod.volumes", "edgecore", "volumes and cgroup are set up", "they are there", "pod.store"},
		{"pod.sandbox", "edgecore", "the sandbox is created", "it runs", "pod.store"},
		{"pod.start", "edgecore", "a container is created", "it is started, and its postStart hook has ended", "pod.store"},
		{"pod.image", "edgecore", "the image is looked for", "it is there, pulled or not", "pod.start"},
		{"pod.stop", "edgecore", "a container or the pod is stopped", "nothing of it runs", "pod.store"},
		{"pod.remove", "edgecore", "what is left of it is removed", "it is gone", "pod.store"},
		{"pod.report", "edgecore", "the pod's status, or its end, is reported", "the report is durable in the outbox", "pod.store"},
		{"pod.report.send", "edgecore", "the report is durable", "cloudcore has acknowledged it; without a link that takes as long", "pod.report"},
		{"pod.report.write", "cloudcore", "the report has arrived, with others perhaps", "the API server has it", "pod.report.send"},
		{"device.mirror", "cloudcore", "as pod.mirror", "the Device is read for the node", ""},
		{"device.send", "cloudcore", "the Device is read", "the node has acknowledged it", "device.mirror"},
		{"device.store", "edgecore", "the Device has arrived", "it is durable in the node's store", "device.send"},
		{"twin.apply", "edgecore", "the Device is durable", "the twin has its desired values", "device.store"},
		{"twin.publish", "edgecore", "the delta is given to the bus", "the bus has it (MQTT, QoS 1)", "twin.apply"},
		{"twin.report", "edgecore", "the delta is published; without one: when it ends", "the twin has an actual value", "twin.publish, twin.apply or none"},
		{"device.report", "edgecore", "the DeviceStatus is reported", "it is durable in the outbox", "twin.report"},
		{"device.report.send", "edgecore", "the report is durable", "cloudcore has acknowledged it", "device.report"},
		{"device.report.write", "cloudcore", "the report has arrived, with others perhaps", "the API server has it", "device.report.send"},
	}
}

// Markdown returns the table of spans for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| span | program | begins when | ends when | parent |\n|---|---|---|---|---|\n")
	for _, s := range Spans() {
		parent := s.Parent
		if parent == "" {
			parent = "begins the trace"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, s.Program, s.From, s.To, parent)
	}
	return b.String()
}
