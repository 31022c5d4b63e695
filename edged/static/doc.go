// Package static reads pods from a folder of manifests, or from a web server: pods that a
// node runs because its own disk or its site says so, with no API server involved.
//
//	folder, err := static.New(static.Config{Dir: "/etc/edgekit/pods", Node: "gate-7"})
//	err = folder.Run(ctx, func(pods []*corev1.Pod) { ... }) // all of them, now and after each change
//
// Every file whose name ends in .yaml, .yml or .json and does not begin with a
// dot is one Pod; folders below are not looked at. What the API server would fill
// in is filled in. As with the kubelet, the node's name is appended to the
// pod's, and the uid is made of what the manifest says, so that a changed
// manifest is another pod.
//
// A [URL] reads one Pod, or a list of them, from a web server. What it last read is kept
// on the disk, so that a node that boots without its network runs the same pods.
//
// A file that is no good pod costs one log line and nothing else: where the
// file held a pod before, that pod stays, since a running pod is not stopped for
// a fault in its description. It goes when the file does.
package static
