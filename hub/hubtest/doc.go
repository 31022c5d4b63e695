// Package hubtest has the fakes and suites with which users and implementers of hub test.
//
// [Run] is the suite that every transport must pass: a transport's own test
// gives it a way to make a listener with its dialers, and the suite drives a
// hub.Client and hub.Server over it. [Source] and [Sink] are fakes of both
// halves of the state class, [Outbox] and [Inbox] of the event class, in memory;
// [Directory] is a cloud with one of each for each node. Those who
// implement one of the four interfaces check it by [RunSource], [RunSink], [RunOutbox]
// and [RunInbox].
//
// The suite can run in real time or, for a transport in memory, inside
// testing/synctest bubbles.
package hubtest
