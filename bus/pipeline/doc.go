// Package pipeline runs pipelines on a node or in a gateway: events from sources go through
// steps to sinks, as Pipeline resources say (v1alpha1). It needs no Kubernetes and no cloud.
//
// It is the engine only. What it is made of is given to it as interfaces: Expressions
// (bus/pipeline/cel), Decoders (bus/pipeline/codec), Sources and Sinks
// (bus/pipeline/sources, bus/pipeline/sinks), Queues (bus/pipeline/queue).
package pipeline
