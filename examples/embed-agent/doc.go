// Embed-agent is a node agent in a program of one's own: it runs the pods of a folder,
// with containerd and no API server. Copy main.go; it is the whole program.
//
// To run it you need Linux, root, and containerd with a CNI network (or pods that set
// hostNetwork):
//
//	mkdir /tmp/pods
//	cp examples/embed-agent/hello.yaml /tmp/pods
//	go build -o /tmp/embed-agent ./examples/embed-agent
//	sudo /tmp/embed-agent -pods /tmp/pods -runtime /run/containerd/containerd.sock
//
// It logs what happens to the pods. A manifest that is added, changed or removed is a
// pod that starts, is replaced or ends. When the program is stopped its containers run
// on; when it comes back it adopts them.
package main
