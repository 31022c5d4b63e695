// Package memstate has a hub.Source and a hub.Sink in memory, for programs whose state
// is made anew, or fetched, at each start: a set-point that is computed, a list of
// files, the last reading of a sensor.
//
// # Durability
//
// Nothing survives the program. A Source that starts anew gives versions that are larger
// than those before, since they are taken from the clock. A Sink that starts anew holds
// nothing, and its first session brings everything again. A program whose state must
// survive a power cut implements hub.Source and hub.Sink on its own store; the suites
// hubtest.RunSource and hubtest.RunSink check it.
//
// # What is absent is deleted
//
// A Source is the whole truth: a key that it does not have is deleted at the peer. Put
// everything that is known before the hub.Client or hub.Server runs.
//
// # Bounds
//
// Both are bounded in objects and bytes. A Source that is full refuses a Put with
// ErrFull. A Sink that is full refuses to apply, so that the peer keeps the object and
// tries again, each time after a longer pause; the session goes on.
//
// All methods may be called by several goroutines at once. Bodies are not copied: do not
// alter one that you passed in or got.
package memstate
