// Package metatest checks implementations of meta.Store against its contract.
//
// A test of an implementation is one call:
//
//	func TestStore(t *testing.T) {
//		metatest.Run(t, func(t *testing.T) meta.Store { return mystore.New() })
//	}
//
// An implementation that outlives its process adds RunDurable, which opens the
// same place again and again. The suite uses real time only as a limit on how
// long it waits, and closes what it opens.
package metatest
