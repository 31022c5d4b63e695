// Package cri implements runtime.Runtime over the Container Runtime Interface (CRI), for
// containerd and CRI-O: https://kubernetes.io/docs/concepts/architecture/cri/. It is the
// only importer of cri-api and grpc.
//
//	runtime, err := cri.New(cri.Config{Socket: "/run/containerd/containerd.sock"})
//	if err != nil {
//		return err
//	}
//	defer runtime.Close()
//	if err := runtime.Check(ctx); err != nil {
//		return err // says which socket, and what to do
//	}
//
// A Client connects when it is first used and again whenever the runtime comes
// back; calls made while it is away fail at once. It may be used by several
// goroutines. Removing or stopping what is not there succeeds.
//
// How the runtime makes cgroups (systemd or cgroupfs) is asked of it; of
// containerd before 2.0, which has no answer, it is read from the configuration
// that its status shows. Config.CgroupDriver sets it.
package cri
