// Command conformance runs Kubernetes' own end to end tests against a node that
// edgecore runs, in a cluster of its own that it takes down again. The node's
// only route is its own connection to cloudcore; Services and DNS are those of a
// stock kube-proxy and CoreDNS on the node, clients of the node's own API.
//
// Without FOCUS it runs the specs that need streams: kubectl's logs, exec,
// attach, cp, run, debug and port forwarding, and those of pods over WebSocket
// and with ephemeral containers. It ends with the lines
//
//	RESULT conformance_passed n specs
//	RESULT conformance_failed n specs
//
// and the names of the specs that failed. Its exit code is 1 if one of them is
// not known to be impossible on such a machine (known.go), or if none passed.
//
// LABELS chooses specs of features by ginkgo's labels instead. Those of dynamic resource allocation,
// with Kubernetes' own test driver in the suite, which reaches the node through a pod (proxy.go):
//
//	make conformance LABELS='DRA && Feature: isSubsetOf {DynamicResourceAllocation} && !Alpha && !Beta'
//
// Suite, images and servers are built from Go modules and Debian packages at the
// first run, which takes some fifteen minutes on two cores more than the
// cluster's own.
package main
