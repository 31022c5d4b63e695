// Package server is the kubelet's HTTP API of a node, as the API server,
// kubectl and metrics-server use it: containers' logs, exec, attach and port
// forwarding, the node's pods, health, configuration and metrics.
//
//	s, err := server.New(server.Config{Node: "gate-7", Pods: agent, Runtime: runtime})
//	if err != nil {
//		return err
//	}
//	go s.Run(ctx)
//	link.HandleStream("nodes/proxy", httplink over s)
//
// A Server is an http.Handler; it opens no port and knows nothing of users.
// Whoever serves it says who may reach it. In edgekit the only way in is the
// node's own link to the cloud, where cloudcore has asked the API server for
// each user's rights, and a local socket that belongs to root.
//
// # Sessions
//
// exec, attach and port forwarding are not understood here but handed on: the
// runtime prepares a session and names a URL, and the request's connection is
// joined to it byte by byte, whatever it speaks. That costs two copies and no
// state, and half-closes, errors and exit codes stay the runtime's own. The
// two protocols that runtimes do not speak are translated:
// v5.channel.k8s.io, and SPDY in a WebSocket (SPDY/3.1+portforward.k8s.io).
//
// Logs are read from the runtime's files. Any number of followers of one file
// cost one inotify watch.
//
// # Errors
//
// Status codes and texts are the kubelet's, since kubectl shows them as they
// are: 404 for a pod that is not on the node, 500 with "container not found"
// for a container that does not run, 400 for logs that are not there yet. Two
// differ on purpose: logs that the runtime has removed are status 400 with the
// kubelet's text, which itself answers 200 with that text for a log; and exec
// with the uid of another pod is 404, where the kubelet goes by the name.
//
// A Server may be used by several goroutines at once.
package server
