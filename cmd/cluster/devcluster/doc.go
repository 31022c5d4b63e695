// Package devcluster brings up a Kubernetes cluster for development on one
// machine and takes it down again: etcd, kube-apiserver,
// kube-controller-manager and kube-scheduler on loopback, and for the edge
// node containerd with runc and CNI in a network of its own (package nodenet).
//
//	c, err := devcluster.New(devcluster.Config{Out: os.Stdout})
//	...
//	err = c.Up(ctx)
//	...
//	err = c.Down(ctx)
//
// Up brings about what is missing and leaves alone what runs, so that calling
// it twice is harmless and calling it after a crash repairs. Down stops what
// Up and [Cluster.Start] started and nothing else, and leaves only the cache
// of built programs behind.
//
// Two folders belong to a cluster: Config.Dir for what must survive a reboot,
// and /run/edgekit-ID for sockets and mounts. Clusters with different folders
// live side by side. Methods take a lock on the folder and may be called by
// several programs; a Cluster value is for one goroutine at a time.
package devcluster
