// Command two-programs is the link alone: a cloud and its edge nodes, without Kubernetes
// and without MQTT. The cloud sends settings to every node, a node reports a reading each
// second, and asks the cloud a question.
//
//	go run ./examples/two-programs cloud -listen 127.0.0.1:10443 -dir /tmp/cloud
//
// makes an authority in -dir at the first start, and prints a token and the line with
// which a node joins. In another terminal, or on another machine:
//
//	go run ./examples/two-programs edge -cloud 127.0.0.1:10443 -node edge-1 -dir /tmp/edge-1 -token ...
//
// The node joins once: it makes its key itself and gets a certificate for it. From then
// on it needs no token. It connects over QUIC where UDP gets through, else over WebSocket,
// both on the port of the cloud. Either program may be stopped and started again: the
// other goes on, and they are back in step as soon as there is a link.
//
// cloud.go and edge.go are what a program of one's own begins with. store.go has what a
// cloud must remember of tokens and names, in memory: after a restart of the cloud, nodes
// that have joined still connect and renew, and it prints a new token.
package main
