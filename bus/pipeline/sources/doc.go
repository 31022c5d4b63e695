// Package sources has the sources of pipelines: mqtt, twin, http, file and containerLogs, and
// two parts of a program that they need: a local HTTP port (HTTP) and the logs of containers as
// the container runtime writes them (PodLogs).
//
//	logs, err := sources.NewPodLogs(sources.PodLogsConfig{State: dir})
//	web, err := sources.NewHTTP(sources.HTTPConfig{Address: "127.0.0.1:9062"}) // web.Run(ctx)
//	runner, err := pipeline.New(pipeline.Config{
//		Openers: pipeline.Openers{Source: sources.Open, ...}, Env: pipeline.Env{HTTP: web, Logs: logs, ...}, ...
//	})
//
// # Delivery
//
// Each source emits at least once, and acknowledges what the engine has made safe: an MQTT
// message with its acknowledgement, an HTTP request with the answer 204, lines by an offset on
// the disk. Lines, container logs and twins have the same ids after a restart, so that the
// engine and the sinks drop doubles. An MQTT message has the id of its user property event_id;
// without one, a message that comes again after a kill has another id. An HTTP request has the
// id of its CloudEvent.
//
// # Files and rotation
//
// A file is followed by what is in it, not by its name: after a rotation (rename, or copy and
// truncate) the rest of the old file is read first, then those that took its place, as far as
// they are there and not compressed. The offset is stored with a fingerprint of the file's
// beginning, at most half a second late. Lines of more than 1 MiB are left out and logged.
//
// # Who may send
//
// The HTTP port takes requests of programs on this machine only: it listens on loopback, and
// refuses other Host headers and requests of web pages. Bodies have at most 1 MiB, 64 requests
// are served at once. Files lie below one folder, whatever links are in it.
//
// # Concurrency
//
// All methods of HTTP and PodLogs may be called by several goroutines at once.
package sources
