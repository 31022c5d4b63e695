// Package library runs pipelines in a program of one's own, without Kubernetes: what cmd/edgepipe does at a node, in one
// file to copy. It joins the engine, CEL, the decoders, the queues, and the sources and sinks, those with client libraries
// (NATS, Kafka, OTLP, Parquet) among them.
package library
