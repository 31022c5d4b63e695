// Command cluster brings up a Kubernetes cluster for development on this
// machine, with a place for one edge node, and takes it down again.
//
//	cluster up        build what is missing, start what does not run
//	cluster status    the programs and their logs
//	cluster env       the environment to work with it: eval "$(cluster env)"
//	cluster run       run a command beside a container runtime of its own, then remove that
//	cluster images    the node's images; with arguments, import archives
//	cluster down      stop and remove everything but the build cache
//
// See package devcluster for what it is made of. If KUBECONFIG is set, that
// cluster is used and only the node's container runtime is started.
//
// The folders etcd, kube, containerd, coredns, node-exporter, metrics-server and
// local-path-provisioner are modules that pin what is built; the last four are for
// some tests of cmd/demo only.
package main
