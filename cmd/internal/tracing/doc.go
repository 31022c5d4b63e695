// Package tracing makes OpenTelemetry traces of the way of a pod and of a twin, from the API server's event
// to the node and back, and sends them by OTLP over HTTP. It is off by default:
//
//	cloudcore --tracing-endpoint http://collector:4318 --tracing-sampling 0.1
//	edgecore  --tracing-endpoint http://collector:4318
//
// A Tracer is wrapped around the interfaces between the parts of a program (hub.Directory, hub.Sink,
// hub.Source, devicesync.Reporter) and given to the hooks of edged, twin and twin/mqtt. Without an endpoint
// there is no Tracer and nothing is wrapped, so that it costs nothing. Only this package imports
// OpenTelemetry.
//
// # The way of a trace
//
// cloudcore begins a trace when it sees a change of a pod or a Device that a connected node must have, and
// decides whether it is sampled. The trace goes on at the node by a W3C traceparent beside the object
// (hub.Object.Trace), and comes back the same way beside the node's report. [Spans] lists all spans.
// A peer of an earlier release ignores the traceparent and sends none: its part of the trace is then
// missing. edgecore keeps in memory which trace a pod or device belongs to: a restart of edgecore ends it.
//
// # Bounds
//
// Nothing waits for the receiver: ended spans go into a queue of fixed length, further ones are dropped and
// counted. What a node sends as a traceparent is not trusted: cloudcore makes spans for it only if its own
// sampling would have chosen this trace, and only so many in a second for each node. Names from a node are
// cut and made valid UTF-8. A trace gets at most 64 spans of one pod or device at a node, and none when it
// was quiet for 15 minutes, so that a container that crashes for days does not add to it.
package tracing
