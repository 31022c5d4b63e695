// Package ekuiper is the configuration of LF Edge eKuiper beside edgecore: pod.yaml runs it on an edge node,
// ruleset.json has a stream of the node's MQTT broker and a rule that sets twins.
//
//	kubectl apply -f pod.yaml                   # after nodeName is set to the node's
//	mosquitto_pub -p 1884 -q 1 -t plant/boiler/temp -m '{"device":"boiler","celsius":91}'
//	mosquitto_sub -p 1884 -t '$hw/events/device/plant/boiler/twin/update'
//
// Use eKuiper for SQL: joins of streams, lookup tables in databases, analytic functions, plug-ins in Go and Python.
//
// eKuiper is not in this module: the Go module proxy has neither github.com/lf-edge/ekuiper nor its v2, as its module
// path and tags do not agree. The test checks what there is to check without it: the files, the topics and the
// templates, which are those of Go.
package ekuiper
