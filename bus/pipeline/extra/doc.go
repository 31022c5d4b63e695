// Package extra has the sinks of pipelines that need a client library: NATS JetStream, Kafka,
// OTLP and Parquet files. It is a Go module of its own, so that a program that needs none of them
// does not get their libraries.
//
//	runner, err := pipeline.New(pipeline.Config{Openers: pipeline.Openers{Sink: extra.Open(sinks.Open), ...}, ...})
//
// # Delivery
//
// Send returns nil when the stream, the brokers, the receiver or the disk have the events, and
// they are sent again after any other error, with the same ids:
//
//   - nats: the header Nats-Msg-Id is SOURCE/ID of the event, so that JetStream drops what it has
//     had within the stream's window for duplicates. The payload is the CloudEvent in JSON.
//   - kafka: the idempotent producer, which drops doubles of its own retries. After a restart, and
//     after 30 seconds without an answer, an event may come twice; the CloudEvent in the record has its
//     id. With user and password the connection is TLS and SASL/PLAIN.
//   - nats and kafka: a record over the stream's or the topic's limit is refused.
//   - otlp: logs, or gauges if the endpoint's path ends with /v1/metrics: one for each number in
//     the data. Each log record has the event's id as the attribute event.id. An event whose data
//     has no number has no form as a metric and is refused.
//   - file with format parquet: events go to a journal beside the file, synced, and become a
//     Parquet file with the time in its name when the journal has the size or age of a new file.
//     Without events no file becomes due. Columns: id, source, type, subject, time, data (JSON).
//
// What holds for bus/pipeline/sinks holds here too: no link-local address is connected to,
// credentials come from the Secret and are not logged, files lie below one folder.
//
// # Concurrency
//
// One goroutine calls Send of a sink. Close may be called by any, and twice.
package extra
