package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
)

// Names in the folder that edgecore and edgepipe share.
const (
	Folder     = "pipelines"     // below edgecore's data folder; edgepipe's own store is in it
	HostSocket = "host.sock"     // edgecore serves it, for edgepipe
	MQTTSocket = "mqtt.sock"     // edgecore's embedded MQTT broker
	Socket     = "edgepipe.sock" // edgepipe serves it, for edgectl and edgecore's /metrics
	Store      = "store"         // edgepipe's store: windows, queues and dead letters
	State      = "state"         // places of sources in files and logs
)

// Paths of HostSocket.
const (
	PathPipelines = "/v1/pipelines" // GET: a Set in each line, the present one and each that replaces it
	PathStatus    = "/v1/status"    // POST: Statuses
	// PathEvents takes POSTs of events for the cloud, with a body as Batch.Body, its
	// Content-Encoding, and namespace, name, sink, url, events and retry in the query. They are
	// durable when the answer is 204. 503 says that so much waits for the cloud that the sender
	// keeps its events for now.
	PathEvents = "/v1/events"
)

// PathMetrics of Socket has edgepipe's metrics as a JSON list of Metric, for edgecore's /metrics.
const PathMetrics = "/v1/metrics"

// Metric is one value.
type Metric struct {
	Name    string            `json:"name"`
	Help    string            `json:"help"`
	Counter bool              `json:"counter,omitempty"` // else it is a gauge
	Labels  map[string]string `json:"labels,omitempty"`
	Value   float64           `json:"value"`
}

// Set is all that edgepipe has to run.
type Set struct {
	Node      string            `json:"node"`
	MQTT      MQTT              `json:"mqtt"`
	API       string            `json:"api,omitempty"`   // the socket of the node's own API
	Logs      string            `json:"logs,omitempty"`  // the folder of the containers' logs
	Files     string            `json:"files,omitempty"` // the folder for sources and sinks of kind file; empty allows none
	Listen    string            `json:"listen,omitempty"`
	Pipelines []json.RawMessage `json:"pipelines"`
	Inputs    []NamedInput      `json:"inputs,omitempty"`
	// Devices are those of the node in the namespaces of Pipelines that select devices by labels.
	Devices []Device `json:"devices,omitempty"`
}

// Device has the labels of a Device.
type Device struct {
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Labels    map[string]string `json:"labels,omitempty"`
}

// NamedInput is an Input with its name.
type NamedInput struct {
	Namespace string `json:"namespace"`
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Input
}

// MQTT says how edgepipe reaches the node's MQTT broker.
type MQTT struct {
	URL      string `json:"url"`
	Username string `json:"username,omitempty"`
	Password []byte `json:"password,omitempty"`
	// Files of TLS, for an external broker; empty means the system's authorities and no
	// client certificate.
	CA   string `json:"ca,omitempty"`
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`
	// Session begins the client identifiers of edgepipe's sessions: one for each source.
	Session string `json:"session"`
}

// Status is what edgepipe says of one Pipeline.
type Status struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Report
}

// Statuses are those of all Pipelines of a Set.
type Statuses struct {
	// Version is that of edgepipe: after an upgrade of edgecore by a job it may be an older one.
	Version  string   `json:"version,omitempty"`
	Statuses []Status `json:"statuses"`
}

// SessionID is the client identifier of a source's MQTT session. source is NAMESPACE/PIPELINE/NAME,
// filter its topic: with another one it is another session, so that no subscription stays behind.
func SessionID(prefix, source, filter string) string {
	sum := sha256.Sum256([]byte(filter))
	return prefix + source + "/" + hex.EncodeToString(sum[:6])
}
