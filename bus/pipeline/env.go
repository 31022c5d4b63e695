package pipeline

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Env is what sources, sinks and steps get of the program that they run in. What a program
// does not have is nil: openers of what needs it return an error that says so.
type Env struct {
	Node   string       // the node's name; empty without one
	Clock  Clock        // nil means SystemClock
	Logger *slog.Logger // nil discards

	Broker Broker            // MQTT on the node
	Twins  Twins             // devices of the node
	Cloud  Cloud             // events for the cloud
	Logs   ContainerLogs     // logs of containers on the node
	HTTP   Handlers          // the local port for sources of kind http
	Files  string            // the folder for sources and sinks of kind file; empty allows none
	State  string            // a folder for what sources remember; empty means none
	Secret Secret            // credentials
	Table  ConfigMap         // tables of ConfigMaps
	Dialer http.RoundTripper // for sinks over HTTP without TLS settings of their own; nil means one of the sink's

	// Scope, if not nil, is called with the copy of the Env for a pipeline, with Ref set,
	// before openers and steps use it: it confines what the pipeline may reach.
	Scope func(env *Env)

	// The engine sets the following for each pipeline before it calls an opener, and State to a
	// folder of the pipeline's own.
	Ref         Ref         // the pipeline
	Expressions Expressions // compiles expressions of the spec
	// Upstream are the sources whose events come to the sink that is opened. What a sink sends
	// must not come in at one of them: it would go round without end.
	Upstream []*v1alpha1.Source
}

// Broker is MQTT on the node.
type Broker interface {
	// Publish returns nil when the broker has the message.
	Publish(ctx context.Context, m bus.Message) error
	// Consume calls handle with each message whose topic matches, one at a time, until ctx
	// ends; then it returns nil. ack is called by any goroutine when the message is safe; at
	// QoS 1 a message that was not acknowledged comes again after a restart. name is the
	// same for the same subscriber after a restart.
	Consume(ctx context.Context, name string, sub Subscription, handle func(ctx context.Context, m bus.Message, ack func()) error) error
}

// Subscription says which messages are consumed.
type Subscription struct {
	Filter string
	QoS    bus.QoS
}

// TwinValue is the value of one property of a device.
type TwinValue struct {
	Device, Property string
	Value            any // as Event.Data
	Time             time.Time
	Version          string // changes with each value; empty means unknown
}

// Twins are the devices of the node.
type Twins interface {
	// Reported returns the last reported value. It does not block.
	Reported(device, property string) (TwinValue, bool)
	// Watch calls handle with each reported value that changes, and first with those that
	// are there, until ctx ends; then it returns nil.
	Watch(ctx context.Context, which v1alpha1.TwinSource, handle func(ctx context.Context, v TwinValue) error) error
	// SetDesired sets the desired value and returns nil when it is stored.
	SetDesired(ctx context.Context, device, property string, value any) error
}

// Cloud takes events for the cloud.
type Cloud interface {
	// Send returns nil when the events are durable on the way to cloudcore, which posts them
	// to url. pipeline and sink say whose they are.
	Send(ctx context.Context, pipeline Ref, sink, url string, events []Event) error
}

// LogLine is one line of a container's log.
type LogLine struct {
	Namespace, Pod, Container string
	Stream                    string // stdout or stderr
	Time                      time.Time
	Text                      string
	// ID is the same for the same line after a restart.
	ID string
}

// ContainerLogs are the logs of containers on the node.
type ContainerLogs interface {
	// Follow calls handle with each line until ctx ends; then it returns nil. name is the
	// same for the same reader after a restart, which goes on after the last line whose
	// done was called.
	Follow(ctx context.Context, name string, which v1alpha1.ContainerLogsSource, handle func(ctx context.Context, l LogLine, done func()) error) error
}

// Handlers is a local HTTP port.
type Handlers interface {
	// Handle serves path until stop is called. A path that is taken is an error.
	Handle(path string, h http.Handler) (stop func(), err error)
}

// Secret returns the data of a Secret in the namespace.
type Secret func(ctx context.Context, namespace, name string) (map[string][]byte, error)

// ConfigMap returns the value of one key of a ConfigMap in the namespace.
type ConfigMap func(ctx context.Context, namespace, name, key string) (string, error)
