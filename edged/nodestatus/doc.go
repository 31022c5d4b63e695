// Package nodestatus keeps the Node object of a machine true: its labels, addresses,
// capacity, images, conditions and versions. It is the kubelet's
// pkg/kubelet/nodestatus.
//
//	r, err := nodestatus.New(nodestatus.Config{NodeName: "gate-7", Root: dir, Runtime: client, Reports: reports})
//	if err != nil {
//		return err
//	}
//	return r.Run(ctx)
//
// A [Reporter] checks the machine and its runtime at each interval and reports the
// Node when it changed, not on a clock: the node's Lease says that it is alive. A
// condition keeps the time of its last transition also over a restart, where
// Config.LastNode remembers the last report.
//
// A file system that does not answer stops nothing here: its call runs in a
// goroutine of its own, DiskPressure becomes Unknown, and the end of Run waits for
// that goroutine for one second at most, since the kernel lets nobody cancel it.
//
// All methods may be called by several goroutines at once. The package follows the
// module's version; what is exported is stable from 1.0 on.
package nodestatus
