// Package pipelines is the root of a Go module with examples of pipelines and of what works beside
// them: an ONNX model that judges windows (inference), NATS JetStream, Kafka, Benthos and eKuiper. The
// libraries and servers are in this module only, so that nobody who imports edgekit pays for them.
package pipelines
