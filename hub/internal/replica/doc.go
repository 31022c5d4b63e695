// Package replica has the decisions of the link as pure machines: what to send, to
// load, to apply, to acknowledge and to try again, for both halves of both replicated
// classes of delivery (state and events), the digest by which two sides compare what
// they hold, the keepalive, and who owns a node.
//
// A machine reads no clock and touches no socket, Source or Sink. Step takes one
// event and returns the effects that must be performed now, in order; the session in
// package hub performs them and reports back with further events. A machine belongs to
// one goroutine at a time. The conversations in testdata are its specification by
// example.
//
// The package imports nothing of hub but the values in internal/message.
package replica
