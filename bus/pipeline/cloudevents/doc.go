// Package cloudevents reads and writes the events of pipelines as CloudEvents 1.0.2: the JSON
// event format, one event or a batch, and HTTP in structured, batched and binary mode.
//
//	events, err := cloudevents.FromHTTP(r.Header, body)
//	body, err := cloudevents.AppendJSON(nil, &event)
//
// An event's data is the JSON value of data; bytes travel as data_base64. dataschema, and a
// datacontenttype that is not JSON, are kept in Event.Extensions under those names. Extensions
// that are numbers or bools become texts.
//
// Reading refuses what the specification does not allow: a missing or empty id, source or type, a
// source that is no URI reference, names of attributes other than a to z and 0 to 9, texts with
// control characters, a time that is not as in RFC 3339. An *AttributeError names the attribute.
// Reading allocates what codec.JSON does; nothing is loaded from anywhere, dataschema neither.
//
// All functions may be called by several goroutines at once. Event.Resend is not on the wire.
package cloudevents
