// Package ekuiper is the configuration of LF Edge eKuiper beside edgecore: pod.yaml runs it on an edge node,
// ruleset.json has a stream of the node's MQTT broker and a rule that sets twins.
//
//	kubectl apply -f pod.yaml                   # after nodeName is set to the node's
//	mosquitto_pub -p 1884 -q 1 -t plant/boiler/temp -m '{"device":"boiler","celsius":91}'
//	mosquitto_sub -p 1884 -t '$hw/events/device/plant/boiler/twin/update'
//
// Use eKuiper for SQL: joins of streams, lookup tables in databases, analytic functions, plug-ins in Go and Python.
//
// # Test
//
// The files, topics and templates are checked without eKuiper. A real one runs them in TestReal, if there is one; its
// 500 modules are not in this module. In an empty folder:
//
//	go mod init x && go get github.com/lf-edge/ekuiper/v2/cmd/kuiperd@v2.4.2
//	CGO_ENABLED=0 go build -tags core -o kuiperd github.com/lf-edge/ekuiper/v2/cmd/kuiperd
//	EKUIPERD=$PWD/kuiperd EKUIPER_ETC=$(go list -m -f '{{.Dir}}' github.com/lf-edge/ekuiper/v2)/etc go test -run TestReal -v ...
package ekuiper
