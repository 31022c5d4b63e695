// Command benthos runs a Benthos stream beside edgecore: it takes messages from the node's MQTT broker, maps
// them with Bloblang and publishes the result, here as a device's twin.
//
//	cd examples/pipelines && go run ./benthos benthos/stream.yaml
//	mosquitto_pub -p 1884 -q 1 -t plant/boiler/temp -m '{"fahrenheit":194}'
//	mosquitto_sub -p 1884 -t '$hw/events/device/plant/boiler/twin/update'
//
// Use Benthos when a stream needs what a Pipeline does not have: branches, lookups over HTTP, try and catch,
// some 200 functions. It keeps nothing on the disk: a message that it has not delivered stays in its session at
// the broker, which edgecore keeps over restarts of both.
//
// The open core of Benthos has no MQTT. mqtt.go adds an input and an output of that name, with those fields of Redpanda
// Connect's that stream.yaml uses, so the same file runs there as it is:
//
//	redpanda-connect run benthos/stream.yaml
package main
