// Package push sends the readings of a mapper to where the pushMethod of a property says, besides
// the twin: HTTP and OpenTelemetry are here, MQTT is in device/push/mqtt, and databases are in
// the Go module device/sinks, so that nobody pays for what they do not use.
//
// A Pusher is a device.Link around the mapper's own:
//
//	link, err := push.New(push.Config{
//		Link:  inner,
//		Store: store,
//		Open:  map[string]push.Opener{"http": push.HTTP, "otel": push.OTLP},
//	})
//	...
//	err = device.Run(ctx, device.Config{Protocol: "modbus", New: newDriver, Link: link})
//
// # Delivery
//
// What Report gets is stored before Report returns, and stays stored until the sink has taken
// it: it survives a restart, and is sent at least once, in the order of the reports of a device.
// While a sink is away, Config.MaxReadings are kept for it; then the oldest are dropped and
// counted. A sink that is away delays no other sink, nor the twin.
//
// A reading that a sink will never take (ErrRefused) is dropped, counted and logged.
//
// # Credentials
//
// A Device has no passwords. Openers get them from Config.Secret, which reads the environment
// of the mapper: REDIS_PASSWORD for example, or PASSWORD as with mappers of KubeEdge. They are
// never logged.
package push
