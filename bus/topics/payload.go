package topics

import (
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// Header is in every message of a device or a node. A request without content is
// a Header alone.
type Header struct {
	EventID   string `json:"event_id"`  // set by the client, repeated in the answer
	Timestamp int64  `json:"timestamp"` // milliseconds since 1970
}

// Stamp sets the header.
func (h *Header) Stamp(id string, now time.Time) { h.EventID, h.Timestamp = id, now.UnixMilli() }

// Value is a desired or an actual value.
type Value struct {
	Value    *string        `json:"value,omitempty"`
	Metadata *ValueMetadata `json:"metadata,omitempty"`
}

// ValueMetadata says when the edge stored a value, and whether to rely on it.
type ValueMetadata struct {
	Timestamp int64 `json:"timestamp,omitempty"` // milliseconds since 1970
	// Measured is when an actual value was read from the device, in milliseconds since 1970; 0 if
	// its mapper does not say so. In a request it is the mapper's word. KubeEdge has no such field.
	Measured int64 `json:"measured,omitempty"`
	// Quality of an actual value that is not good: "stale" or "bad". KubeEdge has no such
	// field.
	Quality string `json:"quality,omitempty"`
	Fault   string `json:"fault,omitempty"` // the limit of the model that a bad value breaks
}

// Text returns the Value with that text.
func Text(text string) *Value { return &Value{Value: &text} }

// Text returns the text of a value, "" for none.
func (v *Value) Text() string {
	if v == nil || v.Value == nil {
		return ""
	}
	return *v.Value
}

// Time returns the time of a value in milliseconds since 1970, 0 if it has none.
func (v *Value) Time() int64 {
	if v == nil || v.Metadata == nil {
		return 0
	}
	return v.Metadata.Timestamp
}

// Twin is one property of a device. Expected is KubeEdge's name for the desired
// value.
type Twin struct {
	Expected *Value        `json:"expected,omitempty"`
	Actual   *Value        `json:"actual,omitempty"`
	Optional *bool         `json:"optional,omitempty"` // it may be deleted
	Metadata *TypeMetadata `json:"metadata,omitempty"`
	// The versions are read in requests and never published.
	ExpectedVersion *Version `json:"expected_version,omitempty"`
	ActualVersion   *Version `json:"actual_version,omitempty"`
}

// TypeMetadata names the type of a property, for example "int".
type TypeMetadata struct {
	Type string `json:"type,omitempty"`
}

// Version counts the changes of a value, those of the cloud and those of the edge.
type Version struct {
	Cloud uint64 `json:"cloud"`
	Edge  uint64 `json:"edge"`
}

// TwinUpdateMessage asks for changes of twins on TwinUpdate, and answers that
// and TwinGet.
type TwinUpdateMessage struct {
	Header
	Twin map[string]*Twin `json:"twin"`
}

// TwinDeltaMessage says which desired values a device does not have yet.
type TwinDeltaMessage struct {
	Header
	Twin  map[string]*Twin  `json:"twin"`  // all that have a desired value
	Delta map[string]string `json:"delta"` // the desired values that differ from the actual one
}

// TwinDocumentMessage says what has changed.
type TwinDocumentMessage struct {
	Header
	Twin map[string]Transition `json:"twin"`
}

// Transition is a twin before and after a change; nil where there was or is none.
type Transition struct {
	Last    *Twin `json:"last"`
	Current *Twin `json:"current"`
}

// ErrorMessage answers a request that is refused. Code is that of HTTP. The
// answer to a request that succeeds has no code: it decodes to 0.
type ErrorMessage struct {
	Header
	Code   int    `json:"code"`
	Reason string `json:"reason"`
}

// StateUpdateMessage reports the state of a device.
type StateUpdateMessage struct {
	Header
	State string `json:"state"` // online, offline, ok, unknown or unhealthy
	// Within is the longest time until the next report of the device in milliseconds, after
	// which it is unknown. 0 says nothing. KubeEdge has no such field.
	Within int64 `json:"within,omitempty"`
}

// StateResultMessage answers StateUpdate and StateGet.
type StateResultMessage struct {
	Header
	Device State `json:"device"`
}

// State is the state of a device.
type State struct {
	Name       string `json:"name"` // without the namespace
	State      string `json:"state"`
	LastOnline string `json:"lastOnlineTime,omitempty"` // RFC 3339
}

// DeviceListMessage lists the devices of a node. A long list comes in several messages with
// the same event_id, all but the last with More.
type DeviceListMessage struct {
	Header
	Devices []DeviceEntry `json:"devices"`
	More    bool          `json:"more,omitempty"`
	// Revision is that of the newest MembershipMessage before the list.
	Revision int64 `json:"revision,omitempty"`
}

// MembershipMessage says which devices were added to a node, changed in more than values,
// and removed from it. Added and changed devices are complete.
type MembershipMessage struct {
	Header
	Added   []DeviceEntry `json:"added_devices"`
	Removed []DeviceEntry `json:"removed_devices"`
	// Changed is left out when it is empty. KubeEdge has no such field.
	Changed []DeviceEntry `json:"changed_devices,omitempty"`
	// Revision grows by one with each message. Who sees a gap has missed one, and requests
	// the list (MembershipDetail).
	Revision int64 `json:"revision,omitempty"`
}

// DeviceEntry is a device in a list.
type DeviceEntry struct {
	ID          string           `json:"id"` // namespace/name
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	State       string           `json:"state,omitempty"`
	LastOnline  string           `json:"last_online,omitempty"` // RFC 3339
	Attributes  struct{}         `json:"attributes"`            // readers expect the field; edgekit has no attributes
	Twin        map[string]*Twin `json:"twin,omitempty"`
	// Spec and Model are for the driver. KubeEdge does not send them.
	Spec  json.RawMessage `json:"spec,omitempty"`
	Model json.RawMessage `json:"model,omitempty"`
}

// ClaimMessage claims the devices of a protocol for one run of a mapper. It is repeated every 10
// s: a claim that was not repeated for 45 s ends.
type ClaimMessage struct {
	Header
	Mapper   string `json:"mapper"`   // the mapper's name, for people; the same after a restart
	Instance string `json:"instance"` // of this run of the mapper: no other has it
	// Holder and HolderName are of the ClaimResultMessage that the mapper has last seen; empty if it
	// has seen none. edgecore does not store claims: after its restart it learns the holder here.
	Holder     string `json:"holder,omitempty"`
	HolderName string `json:"holder_name,omitempty"`
	Release    bool   `json:"release,omitempty"` // the mapper ends: it claims nothing any more
}

// MaxMapperName is how many bytes a mapper's name has at most, and an instance.
const MaxMapperName = 128

// IsMapperName reports whether a text can be a field of a ClaimMessage: it is short and can be
// printed. An empty one can.
func IsMapperName(s string) bool {
	return len(s) <= MaxMapperName && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError })
}

// ClaimResultMessage says which mapper drives the devices of a protocol. It answers a
// ClaimMessage, and is published whenever the holder changes.
type ClaimResultMessage struct {
	Header
	Holder     string   `json:"holder"` // an instance; empty if nobody has claimed
	HolderName string   `json:"holder_name,omitempty"`
	Waiting    []string `json:"waiting,omitempty"` // names of mappers that wait, the first one first
}

// LinkMessage is the state of a node's link to its cloud.
type LinkMessage struct {
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`    // why the link ended
	Transport string    `json:"transport,omitempty"` // of a link that is connected
}

// HistoryRequest asks for past values of a device.
type HistoryRequest struct {
	Header
	Properties []string `json:"properties"`      // none means all that have a history
	From       int64    `json:"from,omitempty"`  // milliseconds since 1970, inclusive; 0 is open
	To         int64    `json:"to,omitempty"`    // milliseconds since 1970, inclusive; 0 is open
	Limit      int      `json:"limit,omitempty"` // values of each property; 0 means 1,000, the most is 10,000
	// After has, by property, the Next of an earlier answer that reached the limit.
	After map[string]uint64 `json:"after,omitempty"`
}

// HistoryMessage answers a HistoryRequest. A long answer comes in several messages of about 128
// KiB with the same event_id, all but the last with More.
type HistoryMessage struct {
	Header
	History map[string][]PastValue `json:"history"` // by property, the oldest first
	Next    map[string]uint64      `json:"next,omitempty"`
	More    bool                   `json:"more,omitempty"`
}

// PastValue is a past actual value.
type PastValue struct {
	Value     string `json:"value"`
	Timestamp int64  `json:"timestamp"`       // when the edge stored it, in milliseconds since 1970
	Fault     string `json:"fault,omitempty"` // the limit of the model that it breaks
}

// ConditionsMessage reports conditions of a device; those of other types stay as they are.
type ConditionsMessage struct {
	Header
	Conditions []Condition `json:"conditions"`
}

// Condition is what a user must know of a device: a condition of Kubernetes.
type Condition struct {
	Type    string `json:"type"`
	Status  bool   `json:"status"`
	Reason  string `json:"reason"`
	Message string `json:"message,omitempty"`
}

// MethodCallMessage calls a method of a device.
type MethodCallMessage struct {
	Header
	Method     string          `json:"method"`
	Parameters json.RawMessage `json:"parameters,omitempty"` // an object
	// Deadline is how long the caller waits, in milliseconds; 0 leaves it to the mapper.
	Deadline int64 `json:"deadline,omitempty"`
}

// MethodResultMessage answers a MethodCallMessage, with its event_id.
type MethodResultMessage struct {
	Header
	Method string          `json:"method"`
	Result json.RawMessage `json:"result,omitempty"` // an object
	Code   int             `json:"code,omitempty"`   // 0, or that of the error
	Reason string          `json:"reason,omitempty"` // of the error
}

// ProposalsMessage has the devices that a mapper has found and nobody has declared.
type ProposalsMessage struct {
	Header
	Protocol  string          `json:"protocol"`
	Proposals json.RawMessage `json:"proposals"` // a list; its form is that of package device
}
