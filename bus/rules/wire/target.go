package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/bus"
)

// Capability is what a node's hello names if it has a part in rules. Messages that wait for
// a node stay in the cloud while it does not.
const Capability = "rules"

// maxTarget is how many bytes a Target may have.
const maxTarget = 72 << 10

// Target says what the HTTP request on a stream is for. To a node it has Topic or Port, to
// the cloud neither: the stream's key names the Rule.
type Target struct {
	Topic string `json:"topic,omitempty"` // publish the body there
	Host  string `json:"host,omitempty"`  // call a service; "" is this node's loopback
	Port  int    `json:"port,omitempty"`
}

// Encode returns t as bytes.
func (t Target) Encode() []byte {
	text, err := json.Marshal(t)
	if err != nil { // strings and a number always have JSON
		return nil
	}
	return text
}

// DecodeTarget reads what Encode wrote, and refuses a Target that is none for a node.
func DecodeTarget(b []byte) (Target, error) {
	if len(b) > maxTarget {
		return Target{}, fmt.Errorf("rules/wire: a target of %d bytes is over %d", len(b), maxTarget)
	}
	var t Target
	if err := json.Unmarshal(b, &t); err != nil {
		return Target{}, fmt.Errorf("rules/wire: target: %w", err)
	}
	switch {
	case (t.Topic != "") == (t.Port != 0):
		return Target{}, errors.New("rules/wire: a target has either a topic or a port")
	case t.Topic != "":
		return t, PublishTopic(t.Topic)
	case t.Port < 1 || t.Port > 65535 || strings.ContainsAny(t.Host, "/@?# "):
		return Target{}, errors.New("rules/wire: a target has a host name and a port from 1 to 65535")
	}
	return t, nil
}

// Address returns the host and port of a service.
func (t Target) Address() string {
	host := t.Host
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, strconv.Itoa(t.Port))
}

// PublishTopic says why a Rule may not publish on the topic; nil if it may. Topics that
// begin with $ are edgecore's own or the broker's: what edgecore publishes there counts as
// its own word.
func PublishTopic(topic string) error {
	if err := bus.ValidateTopic(topic); err != nil {
		return err
	}
	if topic[0] == '$' {
		return &bus.InvalidError{What: fmt.Sprintf("topic %.80q", topic), Reason: "a rule may not publish on topics that begin with $"}
	}
	return nil
}

// DotParts reports whether an escaped path has a part . or .., or cannot be read. Such a path
// may lead out of the place below which a Rule allows requests.
func DotParts(escaped string) bool {
	path, err := url.PathUnescape(escaped)
	if err != nil {
		return true
	}
	for part := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." {
			return true
		}
	}
	return false
}

// UploadTopic and UploadPrefix are topics that belong to no namespace: a Rule has them as
// they are.
const (
	UploadTopic  = "SYS/dis/upload_records"
	UploadPrefix = "$hw/events/upload/"
)

// CustomTopics are the filters of the messages that KubeEdge's nodes send to the cloud
// without a rule.
func CustomTopics() []string { return []string{UploadTopic, "+/user/#", UploadPrefix + "#"} }

// SourceFilter returns the filter that a node subscribes to for a Rule with the topic in the
// namespace: NAMESPACE/TOPIC, or the topic itself where it belongs to no namespace.
func SourceFilter(namespace, topic string) (string, error) {
	topic = strings.TrimLeft(topic, "/")
	filter := namespace + "/" + topic
	if topic == UploadTopic || strings.HasPrefix(topic, UploadPrefix) {
		filter = topic
	}
	if topic == "" {
		return "", &bus.InvalidError{What: "topic of a rule", Reason: "it is empty"}
	}
	return filter, bus.ValidateFilter(filter)
}
