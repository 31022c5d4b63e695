// Package memconn is a hub transport within one program: for tests, for
// examples, and for a cloud and an edge that live in one process.
//
// A [Network] is the cloud's [hub.Listener] and hands out a [hub.Dialer] for each node.
// It keeps the rules of a real link, ordered streams with a window each, and can be made
// a bad one: [Network.SetDelay], [Network.Stall] (a half-open link: nothing arrives, and
// no side gets an error), [Network.Cut] and [Network.Refuse]. Delays are timers, so
// inside a testing/synctest bubble they cost no real time.
//
// All methods may be called by several goroutines at once. No goroutine is
// started.
package memconn
