// Command hostpathplugin takes the place of the program of this name in Kubernetes' own tests, as far
// as they use it: it passes the connections of a Unix socket on to connections of a TCP port.
//
//	hostpathplugin --endpoint=/var/lib/kubelet/plugins/x/dra.sock --proxy-endpoint=tcp://:9001
//
// The suite connects to the port first, by a port forward, and waits. Each connection to the socket
// gets one of those. At the end of the program the socket stays, as the suite expects.
package main
