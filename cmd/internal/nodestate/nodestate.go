package nodestate

import "time"

// The paths that edgecore adds to its kubelet API.
const (
	Path           = "/debug/status"          // the Status, as JSON
	PathGoroutines = "/debug/pprof/goroutine" // the stacks of all goroutines, as text
	PathLog        = "/logs/edgecore"         // the last lines of edgecore's log since its start, as text
)

// Kind is the kind of a Status.
const Kind = "EdgeNodeStatus"

// MaxListed is how many pods with problems, devices or log lines a Status lists at most.
const MaxListed = 50

// Status is the state of one node.
type Status struct {
	Kind string    `json:"kind"` // Kind
	Node string    `json:"node"`
	Time time.Time `json:"time"` // when this was written, by the node's clock

	Program     Program     `json:"program"`
	Link        Link        `json:"link"`
	Store       Store       `json:"store"`
	Runtime     Runtime     `json:"runtime"`
	Pods        Pods        `json:"pods"`
	Devices     Devices     `json:"devices"`
	MQTT        MQTT        `json:"mqtt"`
	Certificate Certificate `json:"certificate"`
	Clock       Clock       `json:"clock"`
	Disks       []Disk      `json:"disks"`
	// Errors are the last warnings and errors of edgecore's log since its start, oldest first.
	Errors []string `json:"errors"`
}

// Program is edgecore itself.
type Program struct {
	Version    string    `json:"version"`
	Kubernetes string    `json:"kubernetes"` // the release of Kubernetes that the node follows
	Slot       string    `json:"slot"`       // a or b: the slot of an upgrade that it runs from; base: the installed program
	Instance   string    `json:"instance"`   // identifies this run
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
}

// Link is the link to the cloud.
type Link struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Cloud     string    `json:"cloud"`               // host:port
	Transport string    `json:"transport,omitempty"` // quic or websocket, while connected
	RoundTrip string    `json:"roundTrip,omitempty"` // the mean of the keepalives since the start, as a duration
	Reason    string    `json:"reason,omitempty"`    // why the link is down: the last error
	Failed    int       `json:"failedAttempts,omitempty"`
	LastTry   time.Time `json:"lastTry,omitzero"` // when the last attempt ended
	NextTry   time.Time `json:"nextTry,omitzero"` // when the next begins; absent while one runs
	Fenced    bool      `json:"fenced,omitempty"` // another program has this node's identity and the link
}

// Store is what the node remembers.
type Store struct {
	Bytes         int64  `json:"bytes"`     // on the disk
	FreeBytes     int64  `json:"freeBytes"` // left on its disk
	Encrypted     bool   `json:"encrypted"`
	EventsWaiting int    `json:"eventsWaiting"` // events that the cloud has not acknowledged
	EventsDropped uint64 `json:"eventsDropped"` // since the start, because too many waited
	// StateQueued is how many reports of state wait in the present session. Without a link it is
	// not known: the two sides compare when they meet.
	StateQueued  *int   `json:"stateQueued,omitempty"`
	StateRefused uint64 `json:"stateRefused"`      // reports since the start that found no room
	Damaged      int    `json:"damaged"`           // damaged stores that were set aside
	Failure      string `json:"failure,omitempty"` // why writes fail now
}

// Runtime is the container runtime.
type Runtime struct {
	Endpoint string `json:"endpoint"`
	Name     string `json:"name,omitempty"`
	Version  string `json:"version,omitempty"`
	Ready    bool   `json:"ready"` // it and its network
	Message  string `json:"message,omitempty"`
}

// Pods counts the pods of the node.
type Pods struct {
	Total    int `json:"total"`
	Ready    int `json:"ready"`
	Finished int `json:"finished"` // succeeded, or failed for good
	// NotReady are those that should run and are not ready, at most MaxListed.
	NotReady []Pod `json:"notReady"`
}

// Pod is a pod that is not ready.
type Pod struct {
	Namespace string    `json:"namespace"`
	Name      string    `json:"name"`
	Phase     string    `json:"phase"`
	Reason    string    `json:"reason,omitempty"` // of the pod, or of the first container that is not ready
	Message   string    `json:"message,omitempty"`
	Restarts  int       `json:"restarts"`
	Since     time.Time `json:"since,omitzero"`
}

// Devices counts the devices of the node.
type Devices struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states"` // how many are online, offline, ...; "none" reported nothing yet
	// Bad are those that are not online or ok, as NAMESPACE/NAME, at most MaxListed.
	Bad []string `json:"bad"`
}

// MQTT is MQTT on the node.
type MQTT struct {
	Mode        string   `json:"mode"` // internal, external or both
	Listen      []string `json:"listen,omitempty"`
	Clients     int64    `json:"clients"`
	QueuedBytes int64    `json:"queuedBytes"`
	Outside     *Broker  `json:"outside,omitempty"` // the external broker
}

// Broker is an external MQTT broker.
type Broker struct {
	URL       string    `json:"url"`
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since,omitzero"`
	Reason    string    `json:"reason,omitempty"`
	Waiting   int64     `json:"waiting"` // messages for it
}

// Certificate is the node's certificate.
type Certificate struct {
	Ends          time.Time `json:"ends"`
	AuthorityEnds time.Time `json:"authorityEnds,omitzero"` // when the last of the trusted authorities ends
	Renewed       uint64    `json:"renewed"`                // since the start
	RenewalFailed uint64    `json:"renewalFailed"`
}

// Clock compares the machine's clock with the latest time that is proved to have passed.
type Clock struct {
	Now    time.Time `json:"now"`
	Proved time.Time `json:"proved,omitzero"`
	// Behind is set if the machine's clock is before Proved: it is wrong.
	Behind bool `json:"behind,omitempty"`
}

// Disk is a file system that the node needs.
type Disk struct {
	Path       string `json:"path"`
	TotalBytes uint64 `json:"totalBytes"`
	FreeBytes  uint64 `json:"freeBytes"` // for programs that are not root
	FreeInodes uint64 `json:"freeInodes"`
}
