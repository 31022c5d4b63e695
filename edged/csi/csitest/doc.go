// Package csitest is a small CSI driver for tests: it speaks real gRPC on real
// sockets and makes real bind mounts, of folders that are its volumes.
//
//	d, err := csitest.New(csitest.Config{Name: "folders.csi.example.com", Node: "n", Folder: dir, Registry: sockets})
//	// in one goroutine: err = d.Run(ctx)
//	...
//	calls := d.Calls() // "NodeStageVolume vol-1", ...
//
// It registers itself as a registrar's sidecar does. Fail makes calls fail, Hang makes
// them wait. Mounting needs root and Linux.
//
// A Driver may be used by several goroutines.
package csitest
