// Package nodestate is the status document of one edge node: what edgecore says about itself,
// and edgectl shows at the machine and from the cloud.
//
// edgecore serves it at [Path] of its kubelet API: to root on the socket
// DATA-DIR/api/kubelet.sock, and through the link to users with the right nodes/proxy:
//
//	curl --unix-socket /var/lib/edgekit/api/kubelet.sock http://node/debug/status
//	kubectl get --raw /api/v1/nodes/edge-7/proxy/debug/status
//
// The document holds no secret: no key, no token, no environment variable, no value of a
// device. Its JSON is stable: fields are added, and none changes its meaning. Times are RFC
// 3339, sizes bytes. A field that is absent is not known, or does not apply.
package nodestate
