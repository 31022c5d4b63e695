// Package critest puts a runtime.Runtime behind a CRI socket, so that a program
// which speaks to a container runtime can be tested without one. With
// edged/runtimetest behind it nothing runs and everything can be made to fail.
//
//	socket := critest.Serve(t, runtimetest.New())
//	runtime, err := cri.New(cri.Config{Socket: socket})
package critest
