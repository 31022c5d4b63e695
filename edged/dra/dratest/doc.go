// Package dratest is a small DRA driver for tests: it speaks real gRPC on real sockets and
// writes real CDI files.
//
//	d, err := dratest.New(dratest.Config{Name: "devices.example.com", Folder: dir, Registry: sockets, CDI: "/etc/cdi"})
//	// in one goroutine: err = d.Run(ctx)
//	...
//	calls := d.Calls() // "NodePrepareResources claim-uid", ...
//
// It registers itself as a driver does. A container that gets a claim's device sees the
// variable DRA_CLAIM with the claim's uid. Fail makes calls fail, Hang makes them wait, Lie
// has it answer nonsense, Die ends it between the work and the answer.
//
// A Driver may be used by several goroutines.
package dratest
